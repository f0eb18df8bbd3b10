package relay

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

func TestEveryEventIsPublishedOnceInOrderPerRunAndMarked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(events(3, 40)...), &sink{}
		r := start(t, Config{Batch: 25}, o, s)
		synctest.Wait()
		require.Len(t, s.got(), 120, "full claims go on at once")
		requireInOrder(t, s.got())
		require.Zero(t, o.pending())
		require.InDelta(t, 120, testutil.ToFloat64(r.metrics.events), 0)
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestAnEventThatIsNotTakenHoldsUpItsRunAndNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := true
		o := newOutbox(events(2, 3)...)
		s := &sink{refuse: func(id string) error {
			if full && id == "0-1" {
				return errors.New("stream is full")
			}
			return nil
		}}
		r := start(t, Config{}, o, s)
		synctest.Wait()
		require.ElementsMatch(t, []string{"0-0", "1-0", "1-1", "1-2"}, s.got())
		require.Equal(t, 2, o.pending())
		s.mu.Lock()
		full = false
		s.mu.Unlock()
		after(time.Minute)
		requireInOrder(t, s.got())
		require.Len(t, s.got(), 6)
		require.Zero(t, o.pending())
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestARunThatIsStuckHoldsUpNoOtherHoweverMuchOfItIsPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stuck := true
		all := events(4, 5)
		for i := range all {
			all[i].SavedAt = time.Now()
		}
		slices.SortStableFunc(all, func(x, y wire.OutboxRecord) int { return strings.Compare(x.RunID, y.RunID) })
		o := newOutbox(all...)
		s := &sink{refuse: func(id string) error {
			if stuck && (id == "0-0" || id == "1-0") { // larger than a message, say
				return errors.New("maximum payload exceeded")
			}
			return nil
		}}
		r := start(t, Config{Batch: 3}, o, s)
		after(15 * time.Second)
		require.Equal(t, 10, o.pending(), "the other two runs are through")
		requireInOrder(t, s.got())
		after(time.Hour)
		require.Equal(t, 10, o.pending())
		for range 30 { // over two leases
			after(time.Second)
			require.InDelta(t, 3600, testutil.ToFloat64(r.metrics.oldest), 120, "that it is stuck shows also while it is left alone")
		}
		s.mu.Lock()
		stuck = false
		s.mu.Unlock()
		after(time.Minute)
		require.Zero(t, o.pending())
		requireInOrder(t, s.got())
		require.Len(t, s.got(), 20)
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestASinkThatWasAwayIsServedAtOnceWhenItIsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		away := true
		o := newOutbox(events(2, 3)...)
		s := &sink{refuse: func(string) error {
			if away {
				return errors.New("no response")
			}
			return nil
		}}
		r := start(t, Config{}, o, s)
		synctest.Wait()
		require.Empty(t, s.got())
		s.mu.Lock()
		away = false
		s.mu.Unlock()
		after(time.Second)
		require.Zero(t, o.pending(), "not after a lease")
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestWhatWasPublishedAndNotMarkedIsMarkedBeforeMoreIsClaimed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(events(1, 3)...), &sink{}
		o.markErr = errors.New("database is away")
		r := start(t, Config{}, o, s)
		after(10 * time.Second)
		require.Len(t, s.got(), 3, "published once, however long marking takes")
		require.Equal(t, 3, o.pending())
		o.set(func(o *outbox) { o.markErr = nil })
		after(10 * time.Second)
		require.Zero(t, o.pending())
		require.Len(t, s.got(), 3)
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestTheEventsOfARelayThatDiedArePublishedByAnotherAfterTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(events(1, 3)...), &sink{}
		_, err := o.Claim(t.Context(), wire.EventsRequest{Limit: 2, LeaseMS: 15_000, Holder: "the dead one"})
		require.NoError(t, err)
		began := time.Now()
		r := start(t, Config{}, o, s)
		after(14 * time.Second)
		require.Empty(t, s.got(), "nor the third, which must not pass the first two")
		after(2 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"0-0", "0-1", "0-2"}, s.got())
		require.Less(t, time.Since(began), 17*time.Second)
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestNothingIsPublishedOnceTheLeaseMayBeOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(events(1, 10)...), &sink{slow: 400 * time.Millisecond}
		r := start(t, Config{Lease: time.Second, RetryMin: time.Hour, RetryMax: time.Hour}, o, s)
		after(time.Minute)
		require.Equal(t, []string{"0-0", "0-1"}, s.got())
		require.Equal(t, 8, o.pending(), "what was taken is marked all the same")
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestIdleItLooksAtItsIntervalAndAtOnceWhenWoken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(), &sink{}
		r := start(t, Config{Interval: time.Second}, o, s)
		synctest.Wait()
		o.set(func(o *outbox) { require.Equal(t, 1, o.claims) })
		after(3500 * time.Millisecond)
		o.set(func(o *outbox) {
			require.Equal(t, 4, o.claims)
			o.events = events(1, 1)
		})
		r.Wake()
		synctest.Wait()
		require.Len(t, s.got(), 1)
		require.NoError(t, r.Stop(t.Context()))
	})
}

func TestStopFinishesTheRoundAndClaimsNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(events(1, 20)...), &sink{slow: 100 * time.Millisecond}
		r := start(t, Config{Batch: 10}, o, s)
		after(250 * time.Millisecond)
		require.NoError(t, r.Stop(t.Context()))
		require.Len(t, s.got(), 10)
		require.Equal(t, 10, o.pending())
		require.NoError(t, r.Stop(t.Context()), "again")
	})
}

func TestAStopThatMayNotWaitCutsTheRoundOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o, s := newOutbox(events(1, 20)...), &sink{slow: time.Second}
		r := start(t, Config{}, o, s)
		after(2500 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		require.NoError(t, r.Stop(ctx))
		require.Less(t, time.Since(began), 100*time.Millisecond)
	})
}

func TestARelayLivesOnce(t *testing.T) {
	t.Parallel()
	r, err := New(Config{Holder: "h"}, newOutbox(), &sink{}, prometheus.NewRegistry(), zap.NewNop())
	require.NoError(t, err)
	require.NoError(t, r.Stop(t.Context()))
	require.Error(t, r.Start(t.Context()))
}

func TestConfigSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Batch: 1001, Parallel: -1, Lease: time.Millisecond, RetryMin: time.Hour}, nil, nil, prometheus.NewRegistry(), zap.NewNop())
	for _, field := range []string{"Holder", "Batch", "Parallel", "Lease", "RetryMax"} {
		require.ErrorContains(t, err, field)
	}
}
