package batcher_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

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

func TestBatchIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{MaxBytes: 1000})
		b.add(t, step(1, 400), step(2, 600), step(3, 1), step(4, 5000), step(5, 1000), step(6, 1))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		var sizes []int
		for _, c := range b.store.commits {
			sizes = append(sizes, c.events)
		}
		require.Equal(t, []int{2, 1, 1, 1, 1}, sizes, "1+2 fill it; 3 would fit with 4 only above it; 4 is too large and goes alone")
	})
}

func TestI5EventIsNeverSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{MaxRows: 10})
		big := step(2, 100)
		for range 24 {
			big.Ops = append(big.Ops, big.Ops[0])
		}
		b.add(t, step(1, 100), big, step(3, 100))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, []commit{{0, 1, 1}, {0, 1, 25}, {0, 1, 1}}, b.store.commits)
	})
}

func TestAddBlocksWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{QueueBytes: 4 << 20, MaxBytes: 1 << 20})
		b.store.took = time.Second
		out := b.run(t.Context())
		const size = 1<<20 - 512 // with the overhead, four fill the queue
		b.add(t, step(1, size), step(2, size), step(3, size), step(4, size))
		b.add(t, step(5, size))
		require.Equal(t, time.Second, time.Since(epoch), "the fifth waits for the first commit")

		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("tired of waiting"))
		defer cancel()
		require.EqualError(t, b.Add(ctx, step(6, size)), "tired of waiting")
		require.Equal(t, 4, b.Queued(), "what was not taken is not counted")
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, sequences(1, 5), b.store.applied)
	})
}

// A small event may have large headers, and thousands of them fit into the queue.
func TestHeadersCountAgainstTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{QueueBytes: 1 << 20, MaxBytes: 1 << 20})
		b.store.took = time.Second
		out := b.run(t.Context())
		for i := range 17 {
			ev := step(uint64(i+1), 10)
			ev.Message.Header = wire.Header{"Trace": {strings.Repeat("x", 64<<10-1024)}}
			b.add(t, ev)
		}
		require.Equal(t, time.Second, time.Since(epoch), "the last waits for the first commit")
		b.Close()
		require.NoError(t, <-out)
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

func TestI7OneBadEventAmongAThousandStandsAlone(t *testing.T) {
	t.Parallel()
	for _, bad := range []uint64{1, 500, 777, 1000} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, batcher.Config{})
			b.store.refuse = func(ev wire.Event) bool { return ev.Message.Sequence == bad }
			b.graves.onPut = func() { require.Less(t, b.store.position, bad, "the letter comes before the position passes") }
			b.add(t, steps(1, 1000)...)
			b.Close()
			require.NoError(t, <-b.run(t.Context()))

			require.EqualValues(t, 1000, b.store.position)
			want := append(sequences(1, bad-1), sequences(bad+1, 1000)...)
			require.Equal(t, want, b.store.applied)
			require.Len(t, b.graves.letters, 1)
			require.Equal(t, wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}, b.graves.letters[bad])
			require.LessOrEqual(t, b.store.attempts, 22, "2·log₂(1000) halves, and two for the event itself")
			require.EqualValues(t, 1, b.metric(t, "persistd_events_dead_lettered_total", wire.CodeDatabase))
			last := b.reports[len(b.reports)-1]
			require.EqualValues(t, 1000, last.To)
			var told []uint64
			for _, r := range b.reports {
				for _, ev := range r.Poison {
					told = append(told, ev.Message.Sequence)
				}
			}
			require.Equal(t, []uint64{bad}, told)
		})
	}
}

func TestI7PoisonIsKeptBeforeThePositionPassesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{RetryMin: 50 * time.Millisecond})
		b.graves.fail = []error{errors.New("stream is full"), errors.New("stream is full")}
		b.add(t, step(1, 100), poisoned(2), step(3, 100))
		out := b.run(t.Context())
		synctest.Wait()
		require.Zero(t, b.store.position)
		require.ErrorContains(t, b.Phase().Err, "stream is full")
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []commit{{150 * time.Millisecond, 3, 2}}, b.store.commits)
		require.Equal(t, []uint64{1, 3}, b.store.applied)
		require.Contains(t, b.graves.letters, uint64(2))
	})
}

func TestI7WaitingForADeadLetterHoldsNobodyElseUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := semaphore.NewWeighted(1)
		shared := func(d *batcher.Deps) { d.Gate = gate }
		stuck, free := setup(t, batcher.Config{}, shared), setup(t, batcher.Config{}, shared)
		for range 100 {
			stuck.graves.fail = append(stuck.graves.fail, errors.New("stream is full"))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stuck.add(t, poisoned(1))
		out := stuck.run(ctx)
		synctest.Wait()
		free.add(t, step(1, 100))
		free.Close()
		require.NoError(t, <-free.run(t.Context()))
		cancel(errors.New("enough"))
		require.ErrorContains(t, <-out, "enough")
		require.Zero(t, stuck.store.position)
	})
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
		gate := semaphore.NewWeighted(2)
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
