package client_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// large are steps of which each takes 300 KB of a message: three fit one of 1 MiB.
func large(from, n int) []client.Step[state] {
	steps := make([]client.Step[state], n)
	for i := range steps {
		text := make([]byte, 300_000)
		for j := 0; j < len(text); j += 8 {
			binary.LittleEndian.PutUint64(text[j:], rand.Uint64())
		}
		steps[i] = client.Step[state]{Step: from + i, NodeID: "node", State: state{N: from + i, Text: base64.StdEncoding.EncodeToString(text)}}
	}
	return steps
}

// transactions are the steps of a run's events in the order of the log.
func (l *thelog) transactions(t *testing.T, run string) (steps [][]int) {
	t.Helper()
	for _, ev := range l.requireEvents(t) {
		if ev.RunID != run || ev.Ops[0].Type == wire.OpAttempt {
			continue
		}
		var of []int
		for _, op := range ev.Ops {
			of = append(of, int(op.Step))
		}
		steps = append(steps, of)
	}
	return steps
}

func TestAWriteLargerThanAMessageIsOneEvent(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := startPersistd(t, l)
	p.position.Store(math.MaxUint64)
	st := l.open(t)
	require.NoError(t, st.SaveStep(t.Context(), "run", 0, "", state{}))
	require.NoError(t, st.SaveStepBatch(committed(t.Context()), "run", large(1, 9)))
	require.NoError(t, st.SaveStep(t.Context(), "run", 10, "", state{}))
	require.Equal(t, [][]int{{0}, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {10}}, l.transactions(t, "run"))
	require.Greater(t, l.count(t.Context()), uint64(3+2))

	events := l.requireEvents(t)
	require.Equal(t, events[1].Message.Sequence, p.lastAsked.Load(), "committed is asked of the last part")
	require.Equal(t, int64(1), p.asked.Load())
	ids := map[string]bool{}
	for _, m := range events[1].Parts {
		ids[m.Header.Get(wire.HeaderMsgID)] = true
	}
	require.Len(t, ids, len(events[1].Parts))
}

func TestABatchThatWasNotAnsweredIsInTheLogOnce(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	d := startPersistd(t, l)
	d.position.Store(math.MaxUint64)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(2*time.Second))
	published := l.tap(t)

	p.dropAnswers(true)
	done := make(chan error, 1)
	go func() { done <- st.SaveStepBatch(committed(t.Context()), "run", large(1, 9)) }()
	first := requireSoon(t, published)
	again := first
	for again == first || msgID(again) != msgID(first) { // it is tried again, and refused for being there
		again = requireSoon(t, published)
	}
	require.NotEqual(t, first.Header.Get("Nats-Batch-Id"), again.Header.Get("Nats-Batch-Id"), "as another batch")
	p.dropAnswers(false)
	p.cut()
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, [][]int{{1, 2, 3, 4, 5, 6, 7, 8, 9}}, l.transactions(t, "run"))
	require.Equal(t, l.requireEvents(t)[0].Message.Sequence, d.lastAsked.Load(), "the log said where its last part is")
}

func TestABatchThatWasCutAnywhereIsInTheLogOnceAndInOrder(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())
	var want [][]int
	for i := range 12 {
		before, within, after := 100*i, []int{100*i + 1, 100*i + 2, 100*i + 3, 100*i + 4, 100*i + 5}, 100*i+6
		require.NoError(t, st.SaveStep(async(t.Context()), "run", before, "", state{}))
		p.cutAfter(150_000 * (i + 1)) // of 1.5 MB
		done := make(chan error, 1)
		go func() { done <- st.SaveStepBatch(t.Context(), "run", large(100*i+1, 5)) }()
		require.NoError(t, requireSoon(t, done))
		require.NoError(t, st.SaveStep(t.Context(), "run", after, "", state{}))
		want = append(want, []int{before}, within, []int{after})
	}
	require.Equal(t, want, l.transactions(t, "run"))
}

func TestALogThatIsKilledHoldsABatchWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	server := stacktest.NATSProcess(t)
	l := observe(t, server.URL())
	l.create(t, -1)
	p := newProxy(t, l.url)
	st := open[state](t, p.url())

	p.dropAnswers(true)
	done := make(chan error, 1)
	go func() { done <- st.SaveStepBatch(t.Context(), "run", large(1, 9)) }()
	require.Eventually(t, func() bool { return l.count(t.Context()) > 0 }, eventually, poll)
	server.Kill()
	<-server.Done()
	p.dropAnswers(false)
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, requireSoon(t, done))
	require.Eventually(t, func() bool { return l.count(t.Context()) > 0 }, eventually, poll)
	require.Equal(t, [][]int{{1, 2, 3, 4, 5, 6, 7, 8, 9}}, l.transactions(t, "run"))
}

func TestQueuedBatchesAreFlushedAndCountAsOne(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithDurability(client.Async), client.WithCloseTimeout(eventually), client.WithMaxInFlight(3, 64<<20))
	p.holdRequests(true)
	for i := range 3 {
		require.NoError(t, st.SaveStepBatch(t.Context(), fmt.Sprint("run-", i%2), large(10*i, 5)))
	}
	err := st.Flush(within(t, soon))
	require.ErrorContains(t, err, "3 steps are not acknowledged")
	require.ErrorIs(t, st.SaveStep(within(t, soon), "other", 1, "", state{}), client.ErrBackpressure)
	p.holdRequests(false)
	require.NoError(t, st.Flush(t.Context()))
	require.Equal(t, [][]int{{0, 1, 2, 3, 4}, {20, 21, 22, 23, 24}}, l.transactions(t, "run-0"))

	require.NoError(t, st.SaveStepBatch(t.Context(), "run-1", large(30, 5)))
	require.NoError(t, st.Close())
	require.Equal(t, [][]int{{10, 11, 12, 13, 14}, {30, 31, 32, 33, 34}}, l.transactions(t, "run-1"))
}

func TestABatchOverAllRoomIsTakenAlone(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t, client.WithDurability(client.Async), client.WithMaxInFlight(10, 1<<20))
	require.NoError(t, st.SaveStepBatch(t.Context(), "run", large(1, 9)))
	require.NoError(t, st.SaveStepBatch(t.Context(), "run", large(10, 9)))
	require.NoError(t, st.Flush(t.Context()))
	require.Len(t, l.transactions(t, "run"), 2)
}

func TestCloseSaysOfABatchThatWasSentThatItsOutcomeIsUnknown(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithCloseTimeout(soon))
	p.dropAnswers(true)
	sent, behind := make(chan error, 1), make(chan error, 1)
	go func() { sent <- st.SaveStepBatch(t.Context(), "run", large(1, 5)) }()
	require.Eventually(t, func() bool { return l.count(t.Context()) > 0 }, eventually, poll)
	go func() { behind <- st.SaveStepBatch(within(t, soon), "run", large(6, 5)) }()
	err := requireSoon(t, behind)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
	require.ErrorContains(t, st.Close(), "1 steps are not acknowledged")
	err = requireSoon(t, sent)
	require.ErrorIs(t, err, client.ErrClosed)
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
}

func TestALogThatTakesNoBatchSaysWhy(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		make func(t *testing.T, l *thelog)
		is   error
		says string
		wait time.Duration
	}{
		{"it is full", func(t *testing.T, l *thelog) { l.create(t, 1<<20) }, client.ErrLogFull, "maximum bytes", 10 * time.Second},
		{"it is not set up for them", func(t *testing.T, l *thelog) {
			l.update(t, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
		}, client.ErrRejected, "allow_atomic", eventually},
		{"its messages are smaller", func(t *testing.T, l *thelog) {
			l.update(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 100_000 })
		}, client.ErrTooLarge, "message size exceeds", eventually},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := observe(t, stacktest.NATS(t).URL())
			row.make(t, l)
			_, err := untilKnown(t, row.wait, func() client.Store[state] { return l.open(t) }, func(ctx context.Context, st client.Store[state]) error {
				return st.SaveStepBatch(ctx, "run", large(1, 5))
			})
			require.ErrorIs(t, err, row.is)
			require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
			require.ErrorContains(t, err, row.says)
			require.Zero(t, l.count(t.Context()))
		})
	}
}

// A server from before atomic batches stores the parts one by one: that is not what was asked for.
func TestAPartThatIsAcknowledgedAloneIsNoSuccess(t *testing.T) {
	t.Parallel()
	l := observe(t, stacktest.NATS(t).URL())
	_, err := l.nc.Subscribe("persistd.write.>", func(m *nats.Msg) { _ = m.Respond([]byte(`{"stream":"persistd","seq":1}`)) })
	require.NoError(t, err)
	require.NoError(t, l.nc.Flush())
	err = l.open(t).SaveStepBatch(t.Context(), "run", large(1, 9))
	require.ErrorIs(t, err, client.ErrRejected)
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "2.12")
}
