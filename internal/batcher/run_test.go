package batcher_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

var (
	again    = &batcher.Error{Class: batcher.Again, Number: 2006, Err: errors.New("server has gone away")}
	operator = &batcher.Error{Class: batcher.Operator, Number: 1142, Err: errors.New("command denied"), Hint: "grant it"}
)

// run starts Run and returns what it will return.
func (b *bundle) run(ctx context.Context) <-chan error {
	out := make(chan error, 1)
	go func() { out <- b.Run(ctx) }()
	return out
}

func TestBatchingIsAdaptive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{MaxRows: 100})
		b.store.took = 10 * time.Millisecond
		out := b.run(t.Context())

		b.add(t, step(1, 100)) // idle: goes at once
		synctest.Wait()
		b.add(t, steps(2, 251)...) // while it is in flight, 250 more come
		<-time.After(time.Second)  // virtual
		b.add(t, step(252, 100))
		b.Close()
		require.NoError(t, <-out)

		ms := time.Millisecond
		require.Equal(t, []commit{
			{10 * ms, 1, 1}, {20 * ms, 100, 100}, {30 * ms, 100, 100}, {40 * ms, 50, 50}, {1010 * ms, 1, 1},
		}, b.store.commits)
		require.Equal(t, sequences(1, 252), b.store.applied)
		require.EqualValues(t, 252, b.metric(t, "persistd_events_committed_total"))
		require.EqualValues(t, 5, b.metric(t, "persistd_batch_rows"))
		require.EqualValues(t, 252, b.metric(t, "persistd_partition_position", "3"))
		require.Zero(t, b.Queued())
	})
}

func TestOutageIsWaitedForWithCappedPauses(t *testing.T) {
	t.Parallel()
	for _, class := range []*batcher.Error{again, operator} {
		t.Run(class.Class.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, batcher.Config{RetryMin: 50 * time.Millisecond, RetryMax: 400 * time.Millisecond})
				for range 6 {
					b.store.before = append(b.store.before, class)
				}
				b.add(t, steps(1, 5)...)
				out := b.run(t.Context())
				synctest.Wait()
				require.Equal(t, batcher.Waiting, b.Phase().Name)
				require.Equal(t, class.Class, b.Phase().Class)
				require.ErrorIs(t, b.Phase().Err, class)
				require.Equal(t, epoch, b.Oldest().UTC())
				b.Close()
				require.NoError(t, <-out)
				// 50 + 100 + 200 + 400 + 400 + 400
				require.Equal(t, []commit{{1550 * time.Millisecond, 5, 5}}, b.store.commits)
				require.EqualValues(t, 6, b.metric(t, "persistd_retries_total", class.Class.String()), "what was injected surfaced")
				require.Empty(t, b.graves.letters, "an outage is not poison")
			})
		})
	}
}

func TestI2AmbiguousCommitIsNotAppliedTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{})
		b.store.after = []error{again, nil, again, again}
		for seq := uint64(1); seq <= 40; seq += 10 {
			b.add(t, steps(seq, seq+9)...)
		}
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, sequences(1, 40), b.store.applied)
		require.EqualValues(t, 40, b.store.position)
		require.EqualValues(t, 1, b.metric(t, "persistd_retries_total", "again"), "one batch, whose outcome was unknown once")
	})
}

func TestHangingCommitIsCutOffAndTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{AttemptTimeout: 30 * time.Second, RetryMin: 50 * time.Millisecond})
		b.store.hang = 1
		b.add(t, step(1, 100))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, []commit{{30*time.Second + 50*time.Millisecond, 1, 1}}, b.store.commits)
	})
}

func TestADeletionThatIsCutOffGetsLongerUntilItIsThrough(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		op     wire.OpType
		needs  time.Duration
		within time.Duration // 0 is never
	}{
		"a deletion of a large run": {wire.OpDeleteRun, 100 * time.Second, 310 * time.Second}, // 30, 60, and 100 of 120; and the pauses
		"no more than 16 times":     {wire.OpDeleteRun, 481 * time.Second, 0},
		"a step":                    {wire.OpStep, 31 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Hour, errors.New("an hour is over"))
				defer cancel()
				b := setup(t, batcher.Config{AttemptTimeout: 30 * time.Second, RetryMin: time.Second, RetryMax: time.Second, Jitter: -1})
				b.store.took = row.needs
				ev := step(1, 100)
				ev.Ops[0].Type = row.op
				b.add(t, ev)
				b.Close()
				began := time.Now()
				err := <-b.run(ctx)
				if row.within == 0 {
					require.ErrorContains(t, err, "an hour is over")
					return
				}
				require.NoError(t, err)
				require.Less(t, time.Since(began), row.within)
				require.EqualValues(t, 1, b.store.position)
			})
		})
	}
}

func TestTermEndsWhenTheStoreSaysSo(t *testing.T) {
	t.Parallel()
	for _, class := range []batcher.Class{batcher.Lost, batcher.Moved} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, batcher.Config{})
			b.store.before = []error{&batcher.Error{Class: class, Err: errors.New("not yours")}}
			b.add(t, steps(1, 3)...)
			err := <-b.run(t.Context())
			var e *batcher.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, class, e.Class)
			require.Equal(t, 1, b.store.attempts)
			require.Empty(t, b.store.applied)
			require.Equal(t, 3, b.Queued(), "not written, and counted")
		})
	}
}

func TestI3OldEpochWritesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{})
		b.store.epoch = 8
		b.add(t, step(1, 100))
		require.ErrorContains(t, <-b.run(t.Context()), "another epoch")
		require.Empty(t, b.store.applied)
	})
}

func TestGateBoundsCommitsAtOneTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := batcher.NewGate(2, nil)
		var outs []<-chan error
		shared := &model{epoch: 7, took: time.Second}
		for range 5 {
			b := setup(t, batcher.Config{}, func(d *batcher.Deps) { d.Gate, d.Store = gate, countOnly{shared} })
			b.add(t, step(1, 100))
			b.Close()
			outs = append(outs, b.run(t.Context()))
		}
		for _, out := range outs {
			require.NoError(t, <-out)
		}
		require.Equal(t, 2, shared.mostAtOne)
		require.Equal(t, 3*time.Second, time.Since(epoch), "five commits of a second, two at a time")
	})
}

// countOnly lets several partitions share a model's clock and counters, each from position 0.
type countOnly struct{ m *model }

func (c countOnly) Commit(ctx context.Context, b *batcher.Batch) error {
	err := c.m.Commit(ctx, b)
	c.m.mu.Lock()
	c.m.position = 0
	c.m.mu.Unlock()
	return err
}

func TestCancelledRunReturnsTheCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("hard stop")
		idle, committing := setup(t, batcher.Config{}), setup(t, batcher.Config{})
		committing.store.hang = 1
		committing.add(t, step(1, 100))
		ctx, cancel := context.WithCancelCause(t.Context())
		a, c := idle.run(ctx), committing.run(ctx)
		synctest.Wait()
		cancel(why)
		require.ErrorIs(t, <-a, why)
		require.ErrorIs(t, <-c, why)
	})
}

func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	b := setup(t, batcher.Config{})
	problems, err := testutil.GatherAndLint(b.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestConfigReportsEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	require.NoError(t, batcher.Config{}.WithDefaults().Validate(), "zero means the default")
	err := batcher.Config{MaxRows: -1, MaxBytes: -1, QueueBytes: -2, RetryMin: 2, RetryMax: 1, Jitter: 2, AttemptTimeout: -1}.Validate()
	for _, field := range []string{"MaxRows", "MaxBytes", "QueueBytes", "RetryMax", "Jitter", "AttemptTimeout"} {
		require.ErrorContains(t, err, field)
	}
}
