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

func TestI7RefusedEventsAreBuriedAndTheirNeighboursApplied(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		w.stale = []uint64{3, 4, 25, 40}
		w.publish(0, 30)
		w.publish(1, 10)
		r := w.replica("a")
		r.took = 7 * ms
		s := r.start(t, partition.Config{})
		<-time.After(time.Second)
		require.Equal(t, slices.Concat(sequences(1, 2), sequences(5, 24), sequences(26, 30)), w.row(0).applied)
		require.Equal(t, sequences(31, 39), w.row(1).applied)
		require.EqualValues(t, 40, w.row(1).position, "past the last event, which was refused")
		require.Equal(t, map[uint64]int{3: 1, 4: 1, 25: 1, 40: 1}, w.graves)
		require.EqualValues(t, 1, w.row(0).epoch, "within one term")
		stop(t, s)
	})
}

// Between the letter and the commit that passes the event is a crash point: the next owner finds the event again, and buries it again.
func TestI7OwnerThatDiesAfterTheLetterIsFollowedByOneThatPassesTheEvent(t *testing.T) {
	t.Parallel()
	for name, die := range map[string]func(*replica) (after func()){
		"it is killed":              func(r *replica) func() { r.crash(); return func() {} },
		"it is paused, and goes on": func(r *replica) func() { return r.pause() },
		"it cannot reach the database": func(r *replica) func() {
			r.fail("commit", errHang)
			r.fail("renew", errHang, errHang, errHang, errHang)
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, a, _, first, second := pair(t)
				<-time.After(5 * time.Second)
				w.stale = []uint64{13}
				after := func() {}
				a.buried = func() { after = die(a) }
				w.publish(0, 5)
				synctest.Wait()
				require.Equal(t, map[uint64]int{13: 1}, w.graves)
				require.LessOrEqual(t, w.row(0).position, uint64(12), "kept, and not passed")

				<-time.After(time.Minute)
				want := slices.Concat(sequences(1, 12), sequences(14, 15))
				require.Equal(t, want, w.row(0).applied)
				require.Equal(t, map[uint64]int{13: 2}, w.graves, "put again, which keeps one letter")
				require.EqualValues(t, 15, w.row(0).position)

				after()
				<-time.After(time.Hour)
				require.Equal(t, want, w.row(0).applied)
				require.EqualValues(t, 2, w.row(0).epoch)
				stop(t, second)
				ended, cancel := context.WithCancel(context.Background())
				cancel()
				_ = first.Stop(ended) // it may hold events that it cannot commit
			})
		})
	}
}
