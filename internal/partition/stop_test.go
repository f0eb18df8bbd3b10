package partition_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

func TestSetLivesOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newWorld(1).replica("a")
		s := r.start(t, partition.Config{})
		synctest.Wait()
		require.EqualError(t, s.Start(t.Context()), "start partitions: already started")
		stop(t, s)
		stop(t, s)
		require.EqualError(t, s.Start(t.Context()), "start partitions: already stopped")

		never := r.set(t, partition.Config{})
		stop(t, never)
		require.EqualError(t, never.Start(t.Context()), "start partitions: already stopped")
		require.Len(t, r.called("acquire"), 1, "nothing ran")
	})
}

func TestStartOutlivesItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		ctx, cancel := context.WithCancel(t.Context())
		s := w.replica("a").set(t, partition.Config{})
		require.NoError(t, s.Start(ctx))
		cancel()
		w.publish(0, 3)
		synctest.Wait()
		require.Equal(t, sequences(1, 3), w.row(0).applied)
		stop(t, s)
	})
}

func TestStopWaitsForTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 5)
		r := w.replica("a")
		r.took = time.Second
		s := r.start(t, partition.Config{})
		<-time.After(500 * ms)
		type outcome struct {
			err     error
			applied int
		}
		outcomes := make(chan outcome, 2)
		for range 2 {
			go func() {
				err := s.Stop(context.Background())
				outcomes <- outcome{err, len(w.row(0).applied)}
			}()
		}
		synctest.Wait()
		w.publish(0, 5) // after intake stopped
		require.Equal(t, outcome{nil, 5}, <-outcomes, "each call waits")
		require.Equal(t, outcome{nil, 5}, <-outcomes)
		require.Equal(t, sequences(1, 5), w.row(0).applied)
		require.Empty(t, w.row(0).owner)
	})
}

func TestStopThatRunsOutOfTimeCountsWhatItLeaves(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		hang []string
		took time.Duration
	}{
		"the commit hangs":               {[]string{"commit"}, 5 * time.Second},
		"the release hangs, too":         {[]string{"commit", "release"}, 8 * time.Second},
		"and the renewal, which is aux":  {[]string{"commit", "renew"}, 5 * time.Second},
		"and the reader, which is quick": {[]string{"commit", "read on"}, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(2)
				w.publish(0, 3)
				w.publish(1, 2)
				r := w.replica("a")
				for _, method := range row.hang {
					r.fail(method, errHang, errHang)
				}
				s := r.start(t, partition.Config{})
				synctest.Wait()
				w.publish(0, 1)
				synctest.Wait()
				ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Second, errors.New("drain took longer than 5s"))
				defer cancel()
				err := s.Stop(ctx)
				require.Equal(t, row.took, time.Since(epoch))
				want := "drain partitions: 6 events were read and not committed, and are still in the log: drain took longer than 5s"
				if row.hang[len(row.hang)-1] == "read on" {
					want = "drain partitions: 5" + want[len("drain partitions: 6"):]
				}
				require.EqualError(t, err, want)
				require.Empty(t, w.row(0).applied)
				require.Empty(t, w.row(1).applied)
				require.NoError(t, s.Stop(context.Background()), "told once")
			})
		})
	}
}

func TestSecondStopCutsTheFirstShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 3)
		r := w.replica("a")
		r.took = 25 * time.Second
		s := r.start(t, partition.Config{})
		synctest.Wait()
		patient := make(chan error, 1)
		go func() { patient <- s.Stop(context.Background()) }()
		<-time.After(time.Second)
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(errors.New("second signal"))
		require.ErrorContains(t, s.Stop(ctx), "3 events were read and not committed, and are still in the log: second signal")
		require.NoError(t, <-patient)
		require.Equal(t, time.Second, time.Since(epoch))
	})
}

func TestStopWhileWaitingIsQuick(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		wait func(*replica)
		took time.Duration // what is under way is waited for, but not for long
	}{
		"for another's lease":           {func(r *replica) { r.take(0, "other", time.Hour) }, 0},
		"for a database that is away":   {func(r *replica) { r.crash() }, 0},
		"for a database that hangs":     {func(r *replica) { r.fail("acquire", errHang) }, time.Second},
		"for the log, after it failed":  {func(r *replica) { r.fail("read", errCut) }, 0},
		"for a renewal that hangs":      {func(r *replica) { r.fail("renew", errHang) }, time.Second},
		"for a trim that hangs":         {func(r *replica) { r.fail("position", errHang) }, 0},
		"for nothing: the log is empty": {func(*replica) {}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newWorld(1).replica("a")
				row.wait(r)
				s := r.start(t, partition.Config{TrimEvery: 4 * time.Second})
				<-time.After(4*time.Second + 50*ms)
				began := time.Now()
				require.NoError(t, s.Stop(context.Background()))
				require.Equal(t, row.took, time.Since(began))
				require.Equal(t, partition.Stopped, s.Status()[0].State)
			})
		})
	}
}

func TestStartAndStopAtTheSameTime(t *testing.T) {
	t.Parallel()
	for range 50 {
		w := newWorld(2)
		w.publish(0, 20)
		w.publish(1, 20)
		s := w.replica("a").set(t, partition.Config{})
		var all sync.WaitGroup
		started, failed := make(chan struct{}, 10), make(chan error, 10)
		for i := range 10 {
			all.Go(func() {
				if i%2 == 1 {
					failed <- s.Stop(context.Background())
				} else if s.Start(t.Context()) == nil {
					started <- struct{}{}
				}
				s.Status()
			})
		}
		all.Wait()
		for range 5 {
			require.NoError(t, <-failed)
		}
		require.NoError(t, s.Stop(context.Background()))
		require.LessOrEqual(t, len(started), 1)
		for p := range 2 {
			require.Empty(t, w.row(p).owner)
			require.IsIncreasing(t, append([]uint64{0}, w.row(p).applied...))
			if len(started) == 0 {
				require.Zero(t, w.row(p).epoch, "nothing ran")
			}
		}
	}
}
