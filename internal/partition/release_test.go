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

// The term of a partition is over, and its release takes long; meanwhile another replica comes, and one partition is to be handed over.
func TestPartitionThatIsBeingReleasedIsNotHandedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		a, b := w.replica("a"), w.replica("b")
		first := a.start(t, partition.Config{})
		synctest.Wait()
		a.fail("release", errHang, errHang)
		w.restore(0, 0)
		w.take(0, "nobody", time.Nanosecond) // so that the next commit finds the term over
		w.take(1, "nobody", time.Nanosecond)
		w.publish(0, 1)
		w.publish(1, 1)
		synctest.Wait()
		second := b.start(t, partition.Config{})
		<-time.After(lease)
		stop(t, second)
		stop(t, first)
		require.NotEmpty(t, w.row(0).applied)
	})
}

// A replica is told to stop while it acquires: what the database grants is released, and not left to the end of the lease.
func TestWhatIsAcquiredWhileTheReplicaStopsIsReleasedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		a := w.replica("a")
		a.away = 400 * ms
		s := a.start(t, partition.Config{})
		for len(a.called("acquire")) < 2 {
			<-time.After(10 * ms)
		}
		require.NoError(t, s.Stop(context.Background())) // the requests are on their way
		require.Less(t, time.Since(epoch), lease)
		for p := range 2 {
			r := w.row(p)
			require.Empty(t, r.owner)
			require.EqualValues(t, 1, r.epoch, "it was granted")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Empty(t, w.present, "nor does it say that it is there")
	})
}

// A partition is handed over with a commit under way and a full queue behind it: all of that is committed before another replica gets it, as a
// restart of a fleet would else read everything twice.
func TestAHandoverCommitsWhatIsQueuedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		a, b := w.replica("a"), w.replica("b")
		a.took = time.Second
		first := w.hears(a.start(t, partition.Config{}))
		synctest.Wait()
		for p := range 2 {
			w.publish(p, 40)
		}
		synctest.Wait()
		queued := first.Status()[0].Queued
		require.Greater(t, queued, 5, "more than the commit that is under way")
		require.Equal(t, queued, first.Status()[1].Queued)
		second := w.hears(b.start(t, partition.Config{}))
		<-time.After(40 * time.Second)
		for p := range 2 {
			r := w.row(p)
			require.Len(t, r.applied, 40)
			if r.owner == "a" {
				require.NotContains(t, r.writers, "b")
				continue
			}
			require.Equal(t, queued, slices.Index(r.writers, "b"), "what was read, and nothing after it")
			require.EqualValues(t, 2, r.epoch, "handed over once")
		}
		require.NotEqual(t, w.row(0).owner, w.row(1).owner)
		require.NoError(t, second.Stop(context.Background()))
		require.NoError(t, first.Stop(context.Background()))
	})
}
