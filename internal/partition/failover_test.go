package partition_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

// When the second replica looks again: every 2 s and a millisecond, and when the first one's lease ends, renewed last at 3.3 s.
const (
	lookAfter5s = 6003 * ms
	leaseEnds   = lease/3 + lease + ms
)

// pair is two replicas on one world, of which the first is the owner.
func pair(t *testing.T) (w *world, a, b *replica, first, second *partition.Set) {
	t.Helper()
	w = newWorld(1)
	w.publish(0, 10)
	a, b = w.replica("a"), w.replica("b")
	first = a.start(t, partition.Config{})
	synctest.Wait()
	second = b.start(t, partition.Config{})
	synctest.Wait()
	require.Equal(t, partition.Applying, first.Status()[0].State)
	require.Equal(t, partition.Waiting, second.Status()[0].State)
	require.ErrorIs(t, second.Status()[0].Err, partition.ErrHeld)
	return w, a, b, first, second
}

// takesOver asserts that the second applies from at on, and not before.
func takesOver(t *testing.T, w *world, second *partition.Set, at time.Duration) {
	t.Helper()
	<-time.After(at - time.Since(epoch) - 1)
	require.Equal(t, partition.Waiting, second.Status()[0].State)
	<-time.After(1)
	synctest.Wait()
	require.Equal(t, partition.Applying, second.Status()[0].State)
	require.Equal(t, sequences(1, w.end()), w.row(0).applied, "in order and once")
}

func TestSecondReplicaWaitsWhileTheFirstRenews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _, b, first, second := pair(t)
		<-time.After(time.Hour)
		require.EqualValues(t, 1, w.row(0).epoch)
		require.Empty(t, b.called("renew"), "it has nothing to renew")
		stop(t, second)
		stop(t, first)
	})
}

func TestSecondReplicaTakesOverFromOneThatStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _, _, first, second := pair(t)
		<-time.After(5 * time.Second)
		stop(t, first)
		w.publish(0, 10)
		takesOver(t, w, second, lookAfter5s) // when it looks next: the lease does not run out first
		stop(t, second)
	})
}

func TestSecondReplicaTakesOverAtOnceWhenItIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _, _, first, second := pair(t)
		w.hears(second)
		<-time.After(5 * time.Second)
		stop(t, first)
		w.publish(0, 10)
		synctest.Wait()
		require.Equal(t, 5*time.Second, time.Since(epoch))
		require.Equal(t, sequences(1, w.end()), w.row(0).applied, "in order and once")
		stop(t, second)
	})
}

func TestI3SecondReplicaTakesOverFromOneThatCrashes(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]func(*replica) (after func()){
		"its connections are cut": func(r *replica) func() { r.crash(); return func() {} },
		"its connections hang":    func(r *replica) func() { return r.pause() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, a, _, first, second := pair(t)
				<-time.After(5 * time.Second)
				after := crash(a)
				w.publish(0, 10)
				takesOver(t, w, second, leaseEnds)
				require.Less(t, leaseEnds-5*time.Second, lease)
				require.Equal(t, "b", w.row(0).writers[10])

				after()
				<-time.After(time.Hour)
				require.Equal(t, sequences(1, w.end()), w.row(0).applied)
				require.EqualValues(t, 2, w.row(0).epoch)
				stop(t, second)
				ended, cancel := context.WithCancel(context.Background())
				cancel()
				_ = first.Stop(ended) // it may hold events that it cannot commit
			})
		})
	}
}

func TestI3PausedOwnerWritesNothingWhenItGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a, _, first, second := pair(t)
		a.took = time.Second
		w.publish(0, 3)
		<-time.After(500 * ms) // a commit of these is on its way
		resume := a.pause()
		<-time.After(20 * time.Second)
		w.publish(0, 3)
		synctest.Wait()
		require.Equal(t, sequences(1, 16), w.row(0).applied)
		require.Equal(t, []string{"b", "b", "b", "b", "b", "b"}, w.row(0).writers[10:])

		resume()
		<-time.After(lease)
		require.Equal(t, sequences(1, 16), w.row(0).applied)
		require.Equal(t, partition.Waiting, first.Status()[0].State, "it knows now")

		stop(t, second) // and is the one to take over
		w.publish(0, 3)
		<-time.After(lease)
		require.Equal(t, sequences(1, 19), w.row(0).applied)
		require.Equal(t, []string{"a", "a", "a"}, w.row(0).writers[16:])
		require.NoError(t, first.Stop(context.Background()))
	})
}

func TestLeasesAreRenewedDuringADrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, a, _, first, second := pair(t)
		a.took = 25 * time.Second // longer than two leases
		w.publish(0, 8)
		<-time.After(5 * time.Second)
		w.publish(0, 1) // logged, and not taken: the queue is full
		require.NoError(t, first.Stop(context.Background()))
		// The first event went alone at 0 s, then what fits into a batch, 8 KiB being let in.
		require.Zero(t, time.Since(epoch)%(25*time.Second))
		require.Greater(t, time.Since(epoch), 2*lease)
		require.Zero(t, slices.Index(w.row(0).writers, "b")+1, "nobody could take it meanwhile")
		require.EqualValues(t, 1, w.row(0).epoch)
		<-time.After(lease)
		require.Equal(t, sequences(1, 19), w.row(0).applied)
		stop(t, second)
	})
}
