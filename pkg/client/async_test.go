package client_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

func TestFlushWaitsForWhatWasQueued(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())
	p.holdRequests(true)
	for i := range 20 {
		require.NoError(t, st.SaveStep(async(t.Context()), fmt.Sprint("run-", i), 1, "", state{N: i}))
	}
	err := st.Flush(within(t, soon))
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "20 steps are not acknowledged")

	p.holdRequests(false)
	require.NoError(t, st.Flush(t.Context()), "they stayed queued")
	require.Equal(t, uint64(20), l.count(t.Context()))
	require.NoError(t, st.Flush(t.Context()), "nothing to flush")
}

func TestAQueuedStateMayBeChangedAfterSaveStepReturned(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := open[map[string]int](t, l.url, client.WithDurability(client.Async))
	s := map[string]int{}
	for i := range 50 {
		s["n"] = i
		require.NoError(t, st.SaveStep(t.Context(), "run", i, "", s))
	}
	require.NoError(t, st.Flush(t.Context()))
	for i, ev := range l.requireEvents(t) {
		require.JSONEq(t, fmt.Sprintf(`{"n":%d}`, i), string(ev.Ops[0].State))
	}
}

func TestErrorsOfQueuedStepsComeFromFlushOnceAndFromTheHandler(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.update(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 })
	var mu sync.Mutex
	var handled []error
	st := l.open(t, client.WithDurability(client.Async), client.WithMaxInFlight(8, 1<<20), client.WithErrorHandler(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		handled = append(handled, err)
	}))
	const refused = 70
	for i := range refused {
		require.NoError(t, st.SaveStep(t.Context(), "run", i, "", state{Text: noise(2000)}))
		require.NoError(t, st.SaveStep(t.Context(), "run", i, "", state{N: i}))
	}
	err := st.Flush(t.Context())
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.ErrorContains(t, err, `save step 0 of run "run"`)
	require.ErrorContains(t, err, "and 6 more steps were given up", "64 errors are kept")
	require.NoError(t, st.Flush(t.Context()))

	require.Len(t, handled, refused, "the handler hears of all, before Flush returns")
	var typed *client.Error
	require.ErrorAs(t, handled[69], &typed)
	require.Equal(t, 69, typed.Step)
	require.Equal(t, uint64(refused), l.count(t.Context()), "the good ones are logged")
}

func TestAFullClientBlocksUntilThereIsRoomOrTheCtxEnds(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		limit client.Option
	}{
		{"in steps", client.WithMaxInFlight(2, 1<<30)},
		{"in bytes", client.WithMaxInFlight(1000, 2500)},
		{"in bytes, by a step larger than all room", client.WithMaxInFlight(1000, 1)},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			p := newProxy(t, l.url)
			st := open[state](t, p.url(), row.limit, client.WithDurability(client.Async), client.WithAttemptTimeout(100*time.Millisecond))
			p.dropAnswers(true)

			queued := 0
			var err error
			for err == nil && queued < 10 {
				if err = st.SaveStep(within(t, 10*soon), "run", queued, "", state{Text: noise(1000)}); err == nil {
					queued++
				}
			}
			require.ErrorIs(t, err, client.ErrBackpressure)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorContains(t, err, "log did not answer", "it says why there is no room")
			require.LessOrEqual(t, queued, 2)
			require.Positive(t, queued)

			blocked := make(chan error, 1)
			go func() { blocked <- st.SaveStep(t.Context(), "run", queued, "", state{Text: noise(1000)}) }()
			requireBlocked(t, blocked, soon)
			p.dropAnswers(false)
			p.cut()
			require.NoError(t, requireSoon(t, blocked))
			require.NoError(t, st.Flush(t.Context()))
			require.Len(t, l.steps(t)["run"], queued+1)
		})
	}
}

func TestCloseFlushesAndEveryCallAfterItIsRefused(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t, client.WithDurability(client.Async), client.WithCloseTimeout(eventually))
	for i := range 100 {
		require.NoError(t, st.SaveStep(t.Context(), "run", i, "", state{}))
	}
	require.NoError(t, st.Close())
	require.Equal(t, uint64(100), l.count(t.Context()))
	require.NoError(t, st.Close(), "idempotent")

	require.ErrorIs(t, st.SaveStep(t.Context(), "run", 1, "", state{}), client.ErrClosed)
	_, _, err := st.LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, client.ErrClosed)
	require.ErrorIs(t, st.Flush(t.Context()), client.ErrClosed)
	require.ErrorIs(t, st.Ping(t.Context()), client.ErrClosed)
}

func TestCloseReportsWhatWasNotAcknowledgedAndReleasesEveryone(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	var handled []error
	st := open[state](t, p.url(), client.WithMaxInFlight(4, 1<<20), client.WithCloseTimeout(soon),
		client.WithErrorHandler(func(err error) { handled = append(handled, err) }))
	published := l.tap(t)
	p.dropAnswers(true)
	sent := goSave(t.Context(), st, "run", 1)
	requireSoon(t, published)
	behind := goSave(t.Context(), st, "run", 2)
	require.NoError(t, st.SaveStep(async(t.Context()), "other", 1, "", state{}))
	require.NoError(t, st.SaveStep(async(t.Context()), "other", 2, "", state{}))
	full := goSave(t.Context(), st, "third", 1)
	reading := make(chan error, 1)
	go func() {
		_, _, err := st.LoadLatest(t.Context(), "fourth")
		reading <- err
	}()
	requireBlocked(t, full, soon)

	err := st.Close()
	require.ErrorContains(t, err, "4 steps are not acknowledged")
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.Equal(t, err, st.Close())

	err = requireSoon(t, sent)
	require.ErrorIs(t, err, client.ErrClosed)
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	err = requireSoon(t, behind)
	require.ErrorIs(t, err, client.ErrClosed)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown, "it was never sent")
	require.ErrorIs(t, requireSoon(t, full), client.ErrClosed)
	require.ErrorIs(t, requireSoon(t, reading), client.ErrClosed)
	require.Empty(t, handled)
}

func TestASharedConnectionStaysOpenAndKeepsNothingOfTheStore(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	nc, err := nats.Connect(l.url)
	require.NoError(t, err)
	defer nc.Close()
	st := open[state](t, "", client.WithConn(nc), client.WithCloseTimeout(eventually))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", state{}))
	require.Equal(t, 1, nc.NumSubscriptions())
	require.NoError(t, st.Close())
	require.True(t, nc.IsConnected())
	require.Zero(t, nc.NumSubscriptions())

	st = open[state](t, "", client.WithConn(nc))
	nc.Close()
	err = st.SaveStep(t.Context(), "run", 2, "", state{})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, nats.ErrConnectionClosed, "there is no point in waiting")
	require.NoError(t, st.Close())
}

func TestAConnectionThatIsClosedUnderThePublishEndsIt(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	nc, err := nats.Connect(p.url())
	require.NoError(t, err)
	st := open[state](t, "", client.WithConn(nc))
	p.dropAnswers(true)
	published := l.tap(t)
	sent, behind := goSave(t.Context(), st, "run", 1), goSave(t.Context(), st, "run", 1)
	requireSoon(t, published)
	nc.Close()
	outcomes := []error{requireSoon(t, sent), requireSoon(t, behind)}
	unknown := 0
	for _, err := range outcomes {
		require.ErrorIs(t, err, nats.ErrConnectionClosed)
		if errors.Is(err, client.ErrOutcomeUnknown) {
			unknown++
		}
	}
	require.Equal(t, 1, unknown, "of the one that was sent")
}
