package partition_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
)

const ms = time.Millisecond

// stop stops a set that has no reason to be slow.
func stop(t *testing.T, s *partition.Set) {
	t.Helper()
	begin := time.Now()
	require.NoError(t, s.Stop(context.Background()))
	require.Zero(t, time.Since(begin), "it stops at once")
}

func TestI2EverythingIsAppliedInOrderAndOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(3)
		for range 50 {
			w.publish(0, 2)
			w.publish(2, 1)
		}
		r := w.replica("a")
		r.took = 7 * ms
		s := r.start(t, partition.Config{})
		<-time.After(time.Second)
		w.publish(1, 1)
		<-time.After(time.Second)
		for p := range 3 {
			var want []uint64
			for _, ev := range w.log(p) {
				want = append(want, ev.Message.Sequence)
			}
			require.Equal(t, want, w.row(p).applied)
			require.Equal(t, "a", w.row(p).owner)
		}
		stop(t, s)
		for p := range 3 {
			require.Empty(t, w.row(p).owner, "released")
			require.EqualValues(t, 1, w.row(p).epoch)
		}
	})
}

func TestStatusSaysWhatAPartitionIsDoing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		w.publish(0, 20)
		w.take(1, "other", time.Hour)
		r := w.replica("a")
		r.took = time.Second
		s := r.set(t, partition.Config{})
		for p, st := range s.Status() {
			require.Equal(t, partition.Status{Partition: p, State: partition.Waiting, Since: time.Now()}, st, "before Start")
		}
		require.NoError(t, s.Start(t.Context()))
		<-time.After(500 * ms)

		st := s.Status()
		require.ErrorIs(t, st[1].Err, partition.ErrHeld)
		st[1].Err = nil
		require.Equal(t, partition.Status{Partition: 1, State: partition.Waiting, Since: epoch.Local()}, st[1])
		require.Equal(t, batcher.Committing, st[0].Phase.Name)
		st[0].Phase = batcher.Phase{}
		require.Equal(t, partition.Status{
			Partition: 0, State: partition.Applying, Since: epoch.Local(), Epoch: 1,
			Queued: 8, Pending: 12, // a KiB each, and 8 KiB are let in
			Oldest: epoch.Local(),
		}, st[0])

		<-time.After(time.Minute)
		st = s.Status()
		require.Equal(t, batcher.Idle, st[0].Phase.Name)
		require.Zero(t, st[0].Queued)
		require.Zero(t, st[0].Pending)
		require.Zero(t, st[0].Oldest)

		stop(t, s)
		for p, st := range s.Status() {
			require.Equal(t, partition.Status{Partition: p, State: partition.Stopped, Since: time.Now()}, st)
		}
	})
}

func TestLagGrowsWhileReadingIsBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 20)
		r := w.replica("a")
		r.took = 30 * time.Second // longer than the test looks
		s := r.set(t, partition.Config{})
		require.NoError(t, s.Start(t.Context()))
		<-time.After(time.Second)
		require.EqualValues(t, 20, s.Status()[0].Pending+int64(s.Status()[0].Queued))
		w.publish(0, 100)
		<-time.After(3999 * ms)
		require.EqualValues(t, 20, s.Status()[0].Pending+int64(s.Status()[0].Queued), "not counted again yet")
		<-time.After(2 * ms)
		require.EqualValues(t, 120, s.Status()[0].Pending+int64(s.Status()[0].Queued), "counted after 5 s")
		require.NoError(t, s.Stop(t.Context()))
	})
}

func TestLostLeaseEndsTheTerm(t *testing.T) {
	t.Parallel()
	const third = lease / 3
	for name, row := range map[string]struct {
		events int           // logged while the lease is another's
		ends   time.Duration // the term
		why    string
	}{
		"the renewal says so":                 {0, third, "lease was lost"},
		"the commit says so, which is sooner": {1, time.Second, "another epoch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(1)
				w.publish(0, 5)
				r := w.replica("a")
				s := r.start(t, partition.Config{})
				synctest.Wait()
				require.Equal(t, sequences(1, 5), w.row(0).applied)

				<-time.After(time.Second)
				w.take(0, "other", lease)
				w.publish(0, row.events)
				<-time.After(row.ends - time.Second - 1)
				if row.events == 0 {
					require.Equal(t, partition.Applying, s.Status()[0].State)
				}
				<-time.After(1)
				synctest.Wait()
				require.Equal(t, partition.Waiting, s.Status()[0].State)
				require.ErrorContains(t, s.Status()[0].Err, row.why)

				w.publish(0, 5)
				<-time.After(lease + time.Second - row.ends - 1) // to the end of the other's lease
				require.Equal(t, sequences(1, 5), w.row(0).applied, "nothing is written after")
				require.ErrorIs(t, s.Status()[0].Err, partition.ErrHeld)
				<-time.After(2 * time.Second)
				require.Equal(t, sequences(1, w.end()), w.row(0).applied, "until the lease is ours again")
				require.EqualValues(t, 3, w.row(0).epoch)
				stop(t, s)
			})
		})
	}
}

func TestI2PartitionIsReadAgainFromThePositionFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 6)
		r := w.replica("a")
		s := r.start(t, partition.Config{})
		synctest.Wait()

		// One restore after the other, each sooner than the term is a lease old: the pauses grow.
		at := time.Duration(0)
		for i, pause := range []time.Duration{100 * ms, 150 * ms, 225 * ms} {
			w.restore(0, uint64(3-i))
			w.publish(0, 1)
			synctest.Wait()
			require.ErrorContains(t, s.Status()[0].Err, "position is")
			<-time.After(pause - 1)
			require.Equal(t, partition.Waiting, s.Status()[0].State)
			<-time.After(1)
			synctest.Wait()
			at += pause
			require.Equal(t, at, time.Since(epoch))
			require.Equal(t, partition.Applying, s.Status()[0].State)
			require.Equal(t, sequences(1, w.end()), w.row(0).applied)
			require.EqualValues(t, i+2, s.Status()[0].Epoch)
		}
		// After a quiet lease a restore is the first again.
		<-time.After(lease)
		w.restore(0, 0)
		w.publish(0, 1)
		<-time.After(100 * ms)
		synctest.Wait()
		require.Equal(t, sequences(1, w.end()), w.row(0).applied)
		stop(t, s)
	})
}

func TestReaderThatFailsEndsTheTermAndIsPausedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 3)
		r := w.replica("a")
		gone := errors.New("consumer is gone")
		r.fail("read", gone, gone, gone, gone)
		s := r.start(t, partition.Config{})
		synctest.Wait()
		require.EqualError(t, s.Status()[0].Err, "read partition 0: consumer is gone")
		require.Empty(t, w.row(0).owner, "another replica may try")
		<-time.After(20 * time.Second)
		// 100 ms, and half as much again each time
		require.Equal(t, []time.Duration{0, 100 * ms, 250 * ms, 475 * ms, 812500 * time.Microsecond}, r.called("read"))
		require.Equal(t, sequences(1, 3), w.row(0).applied)
		require.NoError(t, s.Status()[0].Err)

		r.fail("read on", gone) // in the middle of things
		w.publish(0, 3)
		<-time.After(time.Second)
		require.Equal(t, 20*time.Second+100*ms, r.called("read")[5], "it had worked for a while: the pauses begin anew")
		require.Equal(t, sequences(1, 6), w.row(0).applied)
		stop(t, s)
	})
}

func TestReaderThatFailsDuringTheLastCommitEndsTheTermAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 1)
		r := w.replica("a")
		r.took, r.sure = time.Second, true // the server commits, though the caller went away
		s := r.start(t, partition.Config{})
		synctest.Wait()
		r.fail("read on", errors.New("consumer is gone"))
		w.publish(0, 0)
		<-time.After(time.Second + 50*ms)
		require.Equal(t, sequences(1, 1), w.row(0).applied)
		require.EqualError(t, s.Status()[0].Err, "read partition 0: consumer is gone")
		require.Equal(t, partition.Waiting, s.Status()[0].State)
		stop(t, s)
	})
}

func TestReaderThatAlwaysFailsIsTriedEverMoreRarely(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newWorld(1).replica("a")
		for range 100 {
			r.fail("read", errors.New("consumer is gone"))
		}
		s := r.start(t, partition.Config{})
		<-time.After(time.Minute)
		reads := r.called("read")
		require.Equal(t, lease/5, reads[len(reads)-1]-reads[len(reads)-2])
		stop(t, s)
	})
}

func TestLeaseOfItsOwnNameIsReclaimedAtTheStartOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.take(0, "a", time.Hour) // a predecessor's, which is dead
		r := w.replica("a")
		s := r.start(t, partition.Config{})
		synctest.Wait()
		require.Equal(t, partition.Applying, s.Status()[0].State)
		require.EqualValues(t, 2, w.row(0).epoch)

		w.take(0, "a", time.Hour) // another process with our name
		<-time.After(30 * time.Minute)
		require.Equal(t, partition.Waiting, s.Status()[0].State)
		require.EqualValues(t, 3, w.row(0).epoch, "two processes of one name do not take the partition from each other for ever")
		stop(t, s)
	})
}
