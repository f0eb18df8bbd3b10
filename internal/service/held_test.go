package service_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/service"
	"github.com/persistd/persistd/internal/wire"
)

func TestWatchIsHeldUntilThereIsNews(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	begin := time.Now()
	require.JSONEq(t, `{"steps":[],"cursor":"1.5.1"}`, string(ask(t, nc, wire.VerbWatch, `{"run_id":"run/1","cursor":"1.5.1","wait_ms":50}`).Data))
	require.GreaterOrEqual(t, time.Since(begin), 50*time.Millisecond)

	watch := askLater(t, nc, wire.VerbWatch, `{"run_id":"run/1","cursor":"1.5.1","wait_ms":5000}`)
	require.NoError(t, r.nc.Flush())
	r.data.set(func(d *data) {
		d.last = 9
		d.history.steps = []wire.StepRecord{{Step: 2, Sequence: 9, State: []byte(`{}`)}}
	})
	r.tracker.Advance(position.Commit{Partition: home, From: 8, To: 9})
	var got wire.WatchReply
	require.NoError(t, json.Unmarshal(reply(t, watch).Data, &got))
	require.Equal(t, "1.9.2", got.Cursor)
	require.Len(t, got.Steps, 1)
}

func TestStopAnswersWatchesAndTooManyAreTurnedAway(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, _ *readpath.Reader) { c.Waits = 1 })
	entered := make(chan struct{}, 10)
	r.data.set(func(d *data) { d.entered = entered })
	const body = `{"run_id":"run/1","wait_ms":5000}`
	watch := askLater(t, nc, wire.VerbWatch, body)
	<-entered
	require.Contains(t, refused(t, ask(t, nc, wire.VerbWatch, body), wire.StatusBusy), "1 requests wait")
	require.NoError(t, r.Stop(context.Background()))
	require.Equal(t, "replica is stopping", refused(t, reply(t, watch), wire.StatusUnavailable))
}

func TestWatchThatTakesTooLongToReadSaysSo(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, _ *readpath.Reader) { c.ReadTimeout = time.Second })
	r.data.set(func(d *data) { d.hold = make(chan struct{}) })
	require.Equal(t, "watch: read timed out after 1s", refused(t, ask(t, nc, wire.VerbWatch, `{"run_id":"run/1","wait_ms":20}`), wire.StatusUnavailable))
}

// While MySQL is behind, who reads steps waits for it. The reads that need not wait are answered.
func TestStepsThatWaitKeepNothingElseFromBeingAnswered(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, r *readpath.Reader) { c.Reads, r.Recheck = 1, time.Millisecond })
	r.data.set(func(d *data) {
		d.last, d.position = 10, 8
		d.history.steps = []wire.StepRecord{{Step: 2, Sequence: 9, State: []byte(`{}`)}}
	})
	first, second := askLater(t, nc, wire.VerbSteps, `{"run_id":"run/1"}`), askLater(t, nc, wire.VerbSteps, `{"run_id":"run/1"}`)
	require.NoError(t, r.nc.Flush())
	require.Equal(t, `{"found":false}`, string(ask(t, nc, wire.VerbLatest, `{"run_id":"run/1"}`).Data))
	require.JSONEq(t, `{"used":false}`, string(ask(t, nc, wire.VerbIdempotency, `{"key":"k"}`).Data))
	n, _, err := first.Pending()
	require.NoError(t, err)
	require.Zero(t, n)
	r.data.set(func(d *data) { d.position = 10 })
	require.Contains(t, string(reply(t, first).Data), `"step":2`)
	require.Contains(t, string(reply(t, second).Data), `"step":2`)
}

func TestStepsThatAreNotCommittedInTimeSayWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	r, nc := serve(t, func(c *service.Config, _ *readpath.Reader) { c.ReadTimeout = time.Second })
	r.data.set(func(d *data) { d.last, d.position = 10, 8 })
	require.Equal(t, "wait for event 10 to be committed: read timed out after 1s",
		refused(t, ask(t, nc, wire.VerbSteps, `{"run_id":"run/1"}`), wire.StatusUnavailable))
}
