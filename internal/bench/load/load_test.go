package load_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/bench/load"
)

// stalling is a system that answers in 10 ms, but for one second in which it answers nobody: who asks then waits for its end.
func stalling(from time.Time) load.Op {
	return func(context.Context, int, int) error {
		if since := time.Since(from); since >= 0 && since < time.Second {
			<-time.After(time.Second - since)
		}
		<-time.After(10 * time.Millisecond)
		return nil
	}
}

func TestAStallOfASecondShowsInAnOpenLoopsP99AndNotInAClosedLoops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := load.Options{Workers: 4, Rate: 100, WarmUp: time.Second, For: 10 * time.Second}
		r, err := load.RunVirtually(t.Context(), o, stalling(time.Now().Add(5*time.Second)))
		require.NoError(t, err)
		require.EqualValues(t, 1000, r.Measured(), "what arrived in the stall is there, too")
		require.EqualValues(t, 1100, r.Done, "with the warm-up's")
		require.Greater(t, r.Quantile(0.99), 900*time.Millisecond)
		require.InDelta(t, 10*time.Millisecond, r.Quantile(0.5), float64(time.Millisecond/10))
		require.InDelta(t, 100, r.Rate(), 1)
	})
	synctest.Test(t, func(t *testing.T) {
		o := load.Options{Workers: 4, WarmUp: time.Second, For: 10 * time.Second}
		r, err := load.RunVirtually(t.Context(), o, stalling(time.Now().Add(5*time.Second)))
		require.NoError(t, err)
		require.InDelta(t, 10*time.Millisecond, r.Quantile(0.99), float64(time.Millisecond/10), "four slow ones among thousands")
		require.InDelta(t, 1010*time.Millisecond, r.Quantile(1), float64(10*time.Millisecond))
		require.InDelta(t, 360, r.Rate(), 1, "but in the rate it is: 9 s of 400")
	})
}

func TestAnOpenLoopWaitsForAFreeWorkerAndCountsThat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// One arrives every 10 ms and takes 20: the n-th waits for 10n ms.
		r, err := load.RunVirtually(t.Context(), load.Options{Workers: 1, Rate: 100, For: time.Second}, func(context.Context, int, int) error {
			<-time.After(20 * time.Millisecond)
			return nil
		})
		require.NoError(t, err)
		require.EqualValues(t, 100, r.Measured(), "what has arrived is done, after the end, too")
		require.InDelta(t, 20*time.Millisecond+99*10*time.Millisecond, r.Quantile(1), float64(2*time.Millisecond))
		require.InDelta(t, 50, r.Rate(), 1)
	})
}

func TestTheWarmUpIsNotMeasured(t *testing.T) {
	t.Parallel()
	for name, rate := range map[string]float64{"closed": 0, "open": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				r, err := load.RunVirtually(t.Context(), load.Options{Workers: 1, Rate: rate, WarmUp: time.Second, For: time.Second},
					func(context.Context, int, int) error {
						took := 10 * time.Millisecond
						if time.Since(begin) < 500*time.Millisecond {
							took = 250 * time.Millisecond // cold
						}
						<-time.After(took)
						return nil
					})
				require.NoError(t, err)
				require.Equal(t, time.Second, r.Took)
				require.InDelta(t, 100, r.Within, 1)
				if rate == 0 {
					require.InDelta(t, 10*time.Millisecond, r.Quantile(1), float64(time.Millisecond))
				}
			})
		})
	}
}

func TestWhatFailsIsNeverFastAndTheRunHasFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		r, err := load.RunVirtually(t.Context(), load.Options{Workers: 2, For: time.Second}, func(_ context.Context, _, n int) error {
			if n%10 == 9 {
				return refused // at once
			}
			<-time.After(10 * time.Millisecond)
			return nil
		})
		require.ErrorIs(t, err, refused)
		require.EqualError(t, err, "run load: 22 operations failed, the first: refused")
		require.EqualValues(t, 200, r.Measured())
		require.InDelta(t, 10*time.Millisecond, r.Quantile(0), float64(time.Millisecond/10))
	})
}

func TestASystemThatIsAwayEndsTheRunEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var calls atomic.Int64
		_, err := load.RunVirtually(t.Context(), load.Options{Workers: 4, For: time.Hour}, func(context.Context, int, int) error {
			calls.Add(1)
			<-time.After(time.Millisecond)
			return errors.New("away")
		})
		require.ErrorContains(t, err, "operations failed, the first: away")
		require.Less(t, time.Since(begin), time.Second)
		require.Less(t, calls.Load(), int64(110))
	})
}

func TestACountEndsAClosedLoopAndItsRateIsOfTheTimeThatTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		r, err := load.RunVirtually(t.Context(), load.Options{Workers: 4, Count: 100}, func(context.Context, int, int) error {
			calls.Add(1)
			<-time.After(10 * time.Millisecond)
			return nil
		})
		require.NoError(t, err)
		require.EqualValues(t, 100, calls.Load())
		require.Equal(t, 250*time.Millisecond, r.Took)
		require.InDelta(t, 400, r.Rate(), 0.001)
	})
}

func TestAPauseIsNotMeasured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := load.RunVirtually(t.Context(), load.Options{Workers: 1, For: time.Second, Pause: 90 * time.Millisecond},
			func(context.Context, int, int) error {
				<-time.After(10 * time.Millisecond)
				return nil
			})
		require.NoError(t, err)
		require.EqualValues(t, 10, r.Measured())
		require.InDelta(t, 10*time.Millisecond, r.Quantile(1), float64(time.Millisecond/10))
	})
}

func TestARunIsBoundedInTime(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _, _ int) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, c := range map[string]struct {
		o    load.Options
		says string
		took time.Duration
	}{
		"closed": {load.Options{Workers: 2, For: time.Second, Grace: time.Second}, "2 operations failed", 2 * time.Second},
		"open":   {load.Options{Workers: 2, Rate: 10, For: time.Second, Grace: time.Second}, "2 operations failed", 2 * time.Second},
		"count":  {load.Options{Workers: 1, Count: 5}, "1 operations failed", 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				_, err := load.RunVirtually(t.Context(), c.o, hang)
				require.ErrorContains(t, err, c.says)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, c.took, time.Since(begin))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, err := load.RunVirtually(t.Context(), load.Options{Workers: 1, Rate: 10, For: time.Second, Grace: time.Second},
			func(context.Context, int, int) error {
				<-time.After(1500 * time.Millisecond)
				return nil
			})
		require.EqualError(t, err, "run load: 8 operations arrived that nobody could begin within 1s: it took longer than it may")
	})
}

func TestARunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, rate := range map[string]float64{"closed": 0, "open": 100} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				stopped := errors.New("stopped by a person")
				ctx, stop := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { stop(stopped) })
				begin := time.Now()
				_, err := load.RunVirtually(ctx, load.Options{Workers: 2, Rate: rate, For: time.Hour}, func(ctx context.Context, _, _ int) error {
					select {
					case <-time.After(10 * time.Millisecond):
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				require.ErrorIs(t, err, stopped)
				require.LessOrEqual(t, time.Since(begin), time.Second+20*time.Millisecond)
			})
		})
	}
}

func TestEachOperationHasItsWorkerAndItsNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		next := make([]int, 3)
		_, err := load.RunVirtually(t.Context(), load.Options{Workers: 3, For: time.Second}, func(_ context.Context, worker, n int) error {
			if n != next[worker] {
				return fmt.Errorf("worker %d: number %d after %d", worker, n, next[worker]-1)
			}
			next[worker]++
			<-time.After(100 * time.Millisecond)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, []int{10, 10, 10}, next)
	})
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	t.Parallel()
	for says, o := range map[string]load.Options{
		"run load: 0 workers are not at least 1":                                       {For: time.Second},
		"run load: a rate, a time or a count is negative":                              {Workers: 1, For: -time.Second},
		"run load: neither a time nor a count ends it":                                 {Workers: 1, Rate: 3},
		"run load: an open loop is ended by its time, and takes no count and no pause": {Workers: 1, Rate: 3, For: time.Second, Count: 3},
		"run load: more than 1000000 operations would arrive: make it shorter":         {Workers: 1, Rate: 1e6, For: time.Minute},
	} {
		r, err := load.Run(t.Context(), o, func(context.Context, int, int) error { return nil })
		require.EqualError(t, err, says)
		require.Zero(t, r.Quantile(0.5))
		require.Zero(t, r.Rate())
	}
}

// In real time: what the system's clock and sleep do is not virtual.
func TestAnOpenLoopKeepsItsRateInRealTime(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	r, err := load.Run(t.Context(), load.Options{Workers: 8, Rate: 2000, WarmUp: 50 * time.Millisecond, For: 250 * time.Millisecond},
		func(context.Context, int, int) error {
			calls.Add(1)
			return nil
		})
	require.NoError(t, err)
	require.EqualValues(t, 600, calls.Load(), "however late")
	require.EqualValues(t, 500, r.Measured())
}
