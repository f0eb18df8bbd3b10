package readpath_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

func steps(ctx context.Context, r *readpath.Reader) (wire.StepsReply, error) {
	return r.Steps(ctx, "default", wire.StepsRequest{RunID: run, From: 2, Limit: 9})
}

func TestI6StepsAreReadOnceMySQLHasTheWholeRun(t *testing.T) {
	t.Parallel()
	last, position1 := fmt.Sprintf("last of default.run.%s in %d", run, home), fmt.Sprintf("position of %d", home)
	read := fmt.Sprintf("steps of %s from 2, 9", run)

	d := &data{}
	page, err := steps(t.Context(), d.reader(8))
	require.NoError(t, err)
	require.Equal(t, wire.StepsReply{Steps: []wire.StepRecord{*saved(3, 5)}}, page)
	require.Equal(t, []string{last, read}, d.calls, "the log has nothing of it")

	d = &data{log: []wire.Event{event(10, op(1, "x"))}, positions: []uint64{10}}
	_, err = steps(t.Context(), d.reader(12))
	require.NoError(t, err)
	require.Equal(t, []string{last, position1, read, position1}, d.calls, "MySQL has it, before and after")

	synctest.Test(t, func(t *testing.T) {
		d := &data{log: []wire.Event{event(8, op(1, "x")), event(10, op(1, "x"))}, positions: []uint64{8, 10}}
		r := d.reader(8)
		done := make(chan error, 1)
		go func() { _, err := steps(t.Context(), r); done <- err }()
		synctest.Wait()
		r.Positions.Advance(position.Commit{Partition: home, From: 8, To: 9})
		synctest.Wait()
		require.Empty(t, done)
		require.Equal(t, []string{last, position1}, d.calls)
		r.Positions.Advance(position.Commit{Partition: home, From: 9, To: 10})
		require.NoError(t, <-done)
		require.Equal(t, []string{last, position1, position1, read, position1}, d.calls, "MySQL is behind")
	})
}

// What was heard of the position is worth nothing once the database was restored.
func TestI6StepsOfARestoredDatabaseWaitForTheReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{log: []wire.Event{event(10, op(1, "x"))}, positions: []uint64{4, 4, 7, 10}}
		r := d.reader(12)
		_, err := steps(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, 1500*ms, time.Since(epoch), "three looks at the database, as nobody announces anything")
		require.EqualValues(t, 10, r.Positions.Bound(home))
	})
}

func TestI6StepsAreReadAgainWhenTheDatabaseWasRestoredMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Before, after: restored; it catches up; before, after.
		d := &data{log: []wire.Event{event(10, op(1, "x"))}, positions: []uint64{10, 4, 7, 10}}
		r := d.reader(10)
		_, err := steps(t.Context(), r)
		require.NoError(t, err)
		read := 0
		for _, call := range d.calls {
			if call == fmt.Sprintf("steps of %s from 2, 9", run) {
				read++
			}
		}
		require.Equal(t, 2, read)
	})
	d := &data{log: []wire.Event{event(10, op(1, "x"))}, positions: []uint64{10, 4, 10, 4, 10, 4, 10, 4, 10, 4}}
	_, err := steps(t.Context(), d.reader(10))
	require.EqualError(t, err, fmt.Sprintf("read steps: the position of partition %d went back 5 times", home))
}

func TestStepsThatAreNotCommittedInTimeSayWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &data{log: []wire.Event{event(10, op(1, "x"))}, positions: []uint64{8}}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 700*ms, errors.New("waited enough"))
		defer cancel()
		_, err := steps(ctx, d.reader(8))
		require.EqualError(t, err, "wait for event 10 to be committed: waited enough")
	})
	away := errors.New("away")
	for _, d := range []*data{{tailErr: away}, {log: []wire.Event{event(10, op(1, "x"))}, positionErr: away}, {historyErr: away}} {
		_, err := steps(t.Context(), d.reader(0))
		require.ErrorIs(t, err, away)
	}
}

func TestWhatIsAcknowledgedWhenCommittedIsReadFromMySQLAlone(t *testing.T) {
	t.Parallel()
	d := &data{keys: []readpath.Key{{Key: "used"}}}
	r, ctx := d.reader(0), t.Context()
	v2, err := r.CheckpointV2(ctx, "default", wire.V2Request{RunID: run, Label: "l"})
	require.NoError(t, err)
	require.EqualValues(t, 4, v2.StepID)
	list, err := r.CheckpointsV2(ctx, "default", wire.V2ListRequest{RunID: run})
	require.NoError(t, err)
	require.Len(t, list.Checkpoints, 1)
	for key, want := range map[string]bool{"used": true, "free": false, "": false} {
		used, err := r.CheckIdempotency(ctx, "default", key)
		require.NoError(t, err)
		require.Equal(t, want, used, key)
	}
	events, err := r.Claim(ctx, "default", wire.EventsRequest{Limit: 3})
	require.NoError(t, err)
	require.Len(t, events, 1)
	n, err := r.MarkEmitted(ctx, "default", []string{"a", "", "b ", "c"})
	require.NoError(t, err)
	require.EqualValues(t, 2, n)
	require.Equal(t, "mark [a c]", d.calls[len(d.calls)-1], "an id that cannot exist would be taken for another one")
	n, err = r.MarkEmitted(ctx, "default", []string{"b "})
	require.NoError(t, err)
	require.Zero(t, n)
	for _, call := range d.calls {
		require.NotContains(t, call, "tail")
		require.NotContains(t, call, "last")
	}
}

func TestPageOfRunsHasItsMost(t *testing.T) {
	t.Parallel()
	d := &data{}
	for limit, want := range map[int]int{0: 1000, 1: 1, 1000: 1000, 1001: 1000} {
		d.calls = nil
		_, err := d.reader(0).Runs(t.Context(), "default", wire.RunsRequest{Prefix: "p", Limit: limit})
		require.NoError(t, err)
		require.Equal(t, []string{fmt.Sprintf("runs p, %d", want)}, d.calls)
	}
}

func TestAttemptIsTheNewestOfTheLogAndMySQL(t *testing.T) {
	t.Parallel()
	begin := func(seq uint64, n uint32) wire.Event { return of(n, event(seq, wire.Op{Type: wire.OpAttempt})) }
	junk := func(seq uint64) wire.Event { ev := poisoned(seq); return ev }
	for name, row := range map[string]struct {
		log      []wire.Event
		begun    uint32
		attempt  uint32
		sequence uint64
	}{
		"none has begun":                            {nil, 0, 0, 0},
		"the log was trimmed":                       {nil, 3, 3, 0},
		"its beginning is not committed":            {[]wire.Event{begin(8, 3), begin(9, 4)}, 3, 4, 9},
		"a write has begun a newer one":             {[]wire.Event{begin(8, 3)}, 4, 4, 8},
		"the last message begins nothing":           {[]wire.Event{begin(8, 3), begin(9, 4), junk(10), junk(11)}, 2, 4, 11},
		"no message begins anything":                {[]wire.Event{junk(10)}, 2, 2, 10},
		"the last message begins an older one, too": {[]wire.Event{begin(8, 1)}, 2, 2, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &data{attempts: row.log, begun: row.begun}
			attempt, sequence, err := d.reader(20).Attempt(t.Context(), "default", run)
			require.NoError(t, err)
			require.Equal(t, row.attempt, attempt)
			require.Equal(t, row.sequence, sequence)
			// The log before MySQL: what is committed and trimmed between the two is then in MySQL.
			require.Equal(t, fmt.Sprintf("last attempt of default.%s in %d", run, home), d.calls[0])
			require.Equal(t, "attempt of "+run, d.calls[len(d.calls)-1])
		})
	}
	away := errors.New("away")
	_, _, err := (&data{tailErr: away}).reader(0).Attempt(t.Context(), "default", run)
	require.EqualError(t, err, "read attempt from the log: away")
}

func TestReadOfWhatCannotBeAsksNobody(t *testing.T) {
	t.Parallel()
	d := &data{}
	r, ctx := d.reader(0), t.Context()
	for name, read := range map[string]func(namespace, id string) error{
		"checkpoint": func(ns, id string) error { _, err := r.LoadCheckpoint(ctx, ns, id); return err },
		"steps":      func(ns, id string) error { _, err := r.Steps(ctx, ns, wire.StepsRequest{RunID: id}); return err },
		"watch":      func(ns, id string) error { _, err := r.Watch(ctx, ns, id, 0, readpath.Cursor{}, time.Hour); return err },
		"v2":         func(ns, id string) error { _, err := r.CheckpointV2(ctx, ns, wire.V2Request{RunID: id}); return err },
		"label": func(ns, id string) error {
			_, err := r.CheckpointV2(ctx, ns, wire.V2Request{RunID: run, Label: id})
			return err
		},
		"v2s": func(ns, id string) error {
			_, err := r.CheckpointsV2(ctx, ns, wire.V2ListRequest{RunID: id})
			return err
		},
		"attempt":   func(ns, id string) error { _, _, err := r.Attempt(ctx, ns, id); return err },
		"key":       func(ns, id string) error { _, err := r.CheckIdempotency(ctx, ns, id); return err },
		"committed": func(ns, id string) error { _, err := r.Committed(ctx, ns, readpath.Write{ID: id}); return err },
	} {
		var poison *wire.Poison
		require.ErrorAs(t, read("default", "x "), &poison, name)
		require.ErrorIs(t, read("other", "x"), readpath.ErrNamespace, name)
	}
	for name, read := range map[string]func() error{
		"runs":    func() error { _, err := r.Runs(ctx, "other", wire.RunsRequest{}); return err },
		"events":  func() error { _, err := r.Claim(ctx, "other", wire.EventsRequest{}); return err },
		"emitted": func() error { _, err := r.MarkEmitted(ctx, "other", []string{"x"}); return err },
	} {
		require.ErrorIs(t, read(), readpath.ErrNamespace, name)
	}
	require.Empty(t, d.calls)
}

func TestErrorsOfMySQLArePassedOn(t *testing.T) {
	t.Parallel()
	away := errors.New("read it: away")
	r, ctx := (&data{historyErr: away}).reader(0), t.Context()
	for name, read := range map[string]func() error{
		"v2":      func() error { _, err := r.CheckpointV2(ctx, "default", wire.V2Request{RunID: run}); return err },
		"v2s":     func() error { _, err := r.CheckpointsV2(ctx, "default", wire.V2ListRequest{RunID: run}); return err },
		"runs":    func() error { _, err := r.Runs(ctx, "default", wire.RunsRequest{}); return err },
		"key":     func() error { _, err := r.CheckIdempotency(ctx, "default", "k"); return err },
		"attempt": func() error { _, _, err := r.Attempt(ctx, "default", run); return err },
		"events":  func() error { _, err := r.Claim(ctx, "default", wire.EventsRequest{}); return err },
		"emitted": func() error { _, err := r.MarkEmitted(ctx, "default", []string{"x"}); return err },
	} {
		require.Equal(t, away, read(), name)
	}
}
