package client_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

func TestAGroupThatIsNotAnsweredIsPublishedAgainOneByOneWithTheSameIDs(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := grouping(t, p)
	outcomes := gather(t, st, p, 20)
	published := l.tap(t)
	p.dropAnswersWith(`"count":19`)
	p.holdRequests(false)
	l.requireCount(t, 20)
	p.cut()
	for _, outcome := range outcomes {
		require.NoError(t, requireSoon(t, outcome))
	}
	requireEachOnce(t, l, 20)
	ids := map[string]int{}
	for len(published) > 0 {
		ids[msgID(<-published)]++
	}
	require.Len(t, ids, 20)
	for id, n := range ids {
		require.LessOrEqual(t, n, 2, id)
	}
}

func TestAConnectionThatBreaksWithinAGroupLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := grouping(t, p)
	var g errgroup.Group
	for i := range 30 {
		g.Go(func() error {
			for step := range 20 {
				if err := st.SaveStep(t.Context(), fmt.Sprint("run-", i), step, "", state{N: step}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	for over := false; !over; {
		p.cutAfter(1 + rand.IntN(20_000))
		select {
		case err := <-done:
			require.NoError(t, err)
			over = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	steps := l.steps(t)
	require.Len(t, steps, 30)
	for run, got := range steps {
		require.Len(t, got, 20, run)
		require.IsIncreasing(t, got, run)
	}
}

func TestALogThatTakesNoBatchesIsGivenWritesOneByOne(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.update(t, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	p := newProxy(t, l.url)
	st := grouping(t, p)
	outcomes := gather(t, st, p, 20)
	p.holdRequests(false)
	for _, outcome := range outcomes {
		require.NoError(t, requireSoon(t, outcome))
	}
	requireEachOnce(t, l, 20)
	published := l.tap(t)
	var g errgroup.Group
	for i := range 20 {
		g.Go(func() error { return st.SaveStep(t.Context(), fmt.Sprint("again-", i), 1, "", state{}) })
	}
	require.NoError(t, g.Wait())
	for range 20 {
		require.Empty(t, requireSoon(t, published).Header.Get("Nats-Batch-Id"), "it is not tried at every turn")
	}
}

// A server from before atomic batches knows no headers of them, and stores what comes.
func TestAServerThatKnowsNoBatchesHasEachWriteOnce(t *testing.T) {
	t.Parallel()
	l := observe(t, stacktest.NATS(t).URL())
	l.update(t, func(c *jetstream.StreamConfig) { c.Subjects, c.SubjectTransform = []string{"old.>"}, nil })
	_, err := l.nc.Subscribe("persistd.write.>", func(m *nats.Msg) {
		m.Header.Del("Nats-Batch-Id")
		m.Header.Del("Nats-Batch-Sequence")
		m.Header.Del("Nats-Batch-Commit")
		_ = l.nc.PublishMsg(&nats.Msg{Subject: "old." + m.Subject, Reply: m.Reply, Header: m.Header, Data: m.Data})
	})
	require.NoError(t, err)
	require.NoError(t, l.nc.Flush())
	p := newProxy(t, l.url)
	outcomes := gather(t, grouping(t, p), p, 20)
	p.holdRequests(false)
	for _, outcome := range outcomes {
		require.NoError(t, requireSoon(t, outcome))
	}
	l.requireCount(t, 20)
}

func TestAWriteThatIsGivenUpWhileItGathersIsNotLogged(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := grouping(t, p)
	outcomes := gather(t, st, p, 3)
	err := st.SaveStep(within(t, soon), "given-up", 1, "", state{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
	p.holdRequests(false)
	for _, outcome := range outcomes {
		require.NoError(t, requireSoon(t, outcome))
	}
	requireEachOnce(t, l, 3)
}

// The server says of a write that it forbids whose it was, and nothing of the group, which is never complete; if it was the last, never at its end.
func TestAForbiddenWriteHoldsUpNobodyBesideIt(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]int{"the first": 1, "in the middle": 10, "the last": 20} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := restricted(t)
			p := newProxy(t, l.url)
			st := grouping(t, p, client.WithNATSOptions(nats.UserInfo("narrow", "pw")), client.WithDurability(client.Async), client.WithAttemptTimeout(time.Hour))
			p.holdRequests(true)
			require.NoError(t, st.SaveStep(t.Context(), "run-0", 1, "", state{}))
			for i := 1; i <= 20; i++ {
				if i == place {
					require.NoError(t, st.SaveStep(t.Context(), "forbidden", 1, "", state{}))
					continue
				}
				require.NoError(t, st.SaveStep(t.Context(), fmt.Sprint("run-", i), 1, "", state{}))
			}
			p.holdRequests(false)
			err := st.Flush(within(t, eventually))
			require.ErrorIs(t, err, client.ErrPermission)
			require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
			steps := l.steps(t)
			require.Len(t, steps, 20)
			for run, got := range steps {
				require.Equal(t, []int{1}, got, run)
			}
		})
	}
}

func TestAGroupThatDoesNotFitAFullLogIsGivenUpWriteByWrite(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	p := newProxy(t, l.url)
	st := grouping(t, p, client.WithTimeout(10*time.Second))
	outcomes := gather(t, st, p, 20)
	l.create(t, 2500) // room for some of them
	p.holdRequests(false)
	logged := 0
	for _, outcome := range outcomes {
		err := requireSoon(t, outcome)
		if err == nil {
			logged++
			continue
		}
		require.True(t, errors.Is(err, client.ErrLogFull) || errors.Is(err, client.ErrOutcomeUnknown), err)
	}
	require.Positive(t, logged)
	require.Less(t, logged, 20)
	require.GreaterOrEqual(t, int(l.count(t.Context())), logged)
}

func TestALogThatIsKilledHasEachWriteOfAGroupOnce(t *testing.T) {
	t.Parallel()
	server := stacktest.NATSProcess(t)
	l := observe(t, server.URL())
	l.create(t, -1)
	st := open[state](t, l.url, client.WithGroupPublish(client.GroupAlways))
	const workers, steps = 30, 40
	var g errgroup.Group
	for i := range workers {
		g.Go(func() error {
			for step := range steps {
				if err := st.SaveStep(t.Context(), fmt.Sprint("run-", i), step, "", state{N: step}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- g.Wait() }()
	for _, n := range []uint64{100, 400, 800} {
		require.Eventually(t, func() bool { return l.count(t.Context()) >= n }, eventually, poll)
		server.Kill()
		<-server.Done()
		require.NoError(t, server.Restart(t.Context()))
	}
	require.NoError(t, requireSoon(t, done))
	l.requireCount(t, workers*steps)
	require.NotEmpty(t, l.groups(t))
	for run, got := range l.steps(t) {
		require.Len(t, got, steps, run)
		require.IsIncreasing(t, got, run)
	}
}
