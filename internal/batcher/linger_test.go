package batcher_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

const (
	ms     = time.Millisecond
	linger = 100 * ms
)

// sleep lets virtual time pass, and what is then to be done be done.
func sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func awaited(seq uint64) wire.Event {
	ev := step(seq, 100)
	ev.Message.Header = wire.Header{wire.HeaderUrgent: {"1"}}
	return ev
}

func TestABatchGrowsForAsLongAsTheLastCommitIsYoung(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{Linger: linger})
		b.store.took = 10 * ms
		out := b.run(t.Context())
		for seq := uint64(1); seq <= 50; seq++ { // one each 7 ms
			b.add(t, step(seq, 100))
			sleep(7 * ms)
		}
		sleep(time.Second)
		b.add(t, step(51, 100))
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []commit{
			{10 * ms, 1, 1},
			{110 * ms, 14, 14},
			{210 * ms, 14, 14},
			{310 * ms, 14, 14},
			{410 * ms, 7, 7},
			{1360 * ms, 1, 1},
		}, b.store.commits, "they begin 100 ms apart, and after a rest at once")
		require.Equal(t, sequences(1, 51), b.store.applied)
	})
}

func TestACommitThatTookLongerIsFollowedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{Linger: linger})
		b.store.took = 150 * ms
		out := b.run(t.Context())
		b.add(t, step(1, 100))
		synctest.Wait()
		b.add(t, step(2, 100))
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []commit{{150 * ms, 1, 1}, {300 * ms, 1, 1}}, b.store.commits)
	})
}

func TestNothingLingersWithoutALinger(t *testing.T) {
	t.Parallel()
	for _, none := range []time.Duration{0, -time.Second} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, batcher.Config{Linger: none})
			out := b.run(t.Context())
			for seq := uint64(1); seq <= 3; seq++ {
				b.add(t, step(seq, 100))
				sleep(ms)
			}
			require.Equal(t, []commit{{0, 1, 1}, {ms, 1, 1}, {2 * ms, 1, 1}}, b.store.commits)
			b.Close()
			require.NoError(t, <-out)
		})
	}
}

// What each row adds and says comes 20 ms after a commit that began at 0, with 2 and 3 waiting.
func TestWhatIsWaitedForDoesNotLinger(t *testing.T) {
	t.Parallel()
	inParts := inParts(4, 2, wire.Message{})
	inParts.Message.Header = wire.Header{wire.HeaderUrgent: {"1"}}
	for name, row := range map[string]struct {
		add  []wire.Event
		urge uint64
		want []commit
	}{
		"an event that says so takes all before it along": {[]wire.Event{step(4, 100), awaited(5)}, 0, []commit{{20 * ms, 4, 4}}},
		"a transaction whose last part says so":           {[]wire.Event{inParts}, 0, []commit{{20 * ms, 3, 4}}},
		"the first that waits":                            {nil, 2, []commit{{20 * ms, 2, 2}}},
		"the last that waits":                             {nil, 3, []commit{{20 * ms, 2, 2}}},
		"one that is not added yet":                       {nil, 4, []commit{{20 * ms, 2, 2}, {30 * ms, 1, 1}}},
		"not for one that is committed":                   {nil, 1, []commit{{100 * ms, 3, 3}}},
		"and nobody else":                                 {nil, 0, []commit{{100 * ms, 3, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, batcher.Config{Linger: linger})
				out := b.run(t.Context())
				b.add(t, step(1, 100))
				synctest.Wait()
				b.add(t, step(2, 100), step(3, 100))
				sleep(20 * ms)
				b.add(t, row.add...)
				b.Urge(row.urge)
				sleep(10 * ms)
				if len(row.add) == 0 {
					b.add(t, step(4, 100))
				}
				sleep(time.Second)
				require.Equal(t, row.want, b.store.commits[1:1+len(row.want)])
				b.Close()
				require.NoError(t, <-out)
				rows, bytes := b.Waits()
				require.Zero(t, rows)
				require.Zero(t, bytes)
			})
		})
	}
}

func TestWhatIsUrgentMakesNothingBehindItUrgent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{Linger: linger})
		out := b.run(t.Context())
		b.add(t, awaited(1))
		synctest.Wait()
		b.Urge(2)
		b.Urge(1) // late: takes nothing back
		sleep(10 * ms)
		b.add(t, step(2, 100))
		synctest.Wait()
		b.add(t, step(3, 100))
		sleep(time.Second)
		require.Equal(t, []commit{{0, 1, 1}, {10 * ms, 1, 1}, {110 * ms, 1, 1}}, b.store.commits)
		b.Close()
		require.NoError(t, <-out)
	})
}

func TestABacklogIsCommittedAsFastAsWithoutALinger(t *testing.T) {
	t.Parallel()
	drain := func(t *testing.T, cfg batcher.Config) (took time.Duration) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, cfg)
			b.store.took = 3 * ms
			out := b.run(t.Context())
			b.add(t, steps(1, 20_000)...)
			b.Close()
			require.NoError(t, <-out)
			require.EqualValues(t, 20_000, b.store.position)
			took = b.store.commits[len(b.store.commits)-1].at
		})
		return took
	}
	require.InDelta(t, drain(t, batcher.Config{}), drain(t, batcher.Config{Linger: time.Second}), float64(2*3*ms), "two commits more or less")
}

func TestCloseAndTheEndOfTheTermEndALinger(t *testing.T) {
	t.Parallel()
	lingering := func(t *testing.T, ctx context.Context) (*bundle, <-chan error) {
		t.Helper()
		b := setup(t, batcher.Config{Linger: time.Hour})
		out := b.run(ctx)
		b.add(t, step(1, 100))
		synctest.Wait()
		b.add(t, steps(2, 9)...)
		sleep(ms)
		require.Len(t, b.store.commits, 1)
		require.Equal(t, batcher.Committing, b.Phase().Name, "it has something to do")
		require.Equal(t, epoch, b.Oldest().UTC(), "the lag counts what lingers")
		return b, out
	}
	synctest.Test(t, func(t *testing.T) {
		b, out := lingering(t, t.Context())
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []commit{{0, 1, 1}, {ms, 8, 8}}, b.store.commits)
	})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		b, out := lingering(t, ctx)
		cancel(errors.New("lease was lost"))
		require.ErrorContains(t, <-out, "lease was lost")
		require.Equal(t, ms, time.Since(epoch), "at once")
		require.Len(t, b.store.commits, 1)
		require.Equal(t, 8, b.Queued(), "not written, and counted")
	})
}

func TestWhoLingersHoldsNoPlaceAtTheGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := batcher.NewGate(1, nil)
		shared := func(d *batcher.Deps) { d.Gate = gate }
		one, other := setup(t, batcher.Config{Linger: linger}, shared), setup(t, batcher.Config{Linger: linger}, shared)
		first, second := one.run(t.Context()), other.run(t.Context())
		one.add(t, step(1, 100))
		synctest.Wait()
		one.add(t, step(2, 100))
		synctest.Wait()
		sleep(10 * ms)
		other.add(t, step(1, 100))
		sleep(time.Second)
		require.Equal(t, []commit{{0, 1, 1}, {100 * ms, 1, 1}}, one.store.commits)
		require.Equal(t, []commit{{10 * ms, 1, 1}}, other.store.commits)
		one.Close()
		other.Close()
		require.NoError(t, <-first)
		require.NoError(t, <-second)
	})
}

// Whatever is urged, whenever: it blocks nobody, and what was never added does no harm.
func TestAnyoneMayUrgeAnything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{Linger: linger})
		for range 100 {
			b.Urge(math.MaxUint64)
			b.Urge(0)
		}
		out := b.run(t.Context())
		for seq := uint64(1); seq <= 3; seq++ {
			b.add(t, step(seq, 100))
			sleep(ms)
		}
		require.Len(t, b.store.commits, 3)
		b.Close()
		require.NoError(t, <-out)
		b.Urge(7)
	})
}
