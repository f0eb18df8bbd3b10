package partition_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

func TestWhatSomebodyWaitsForIsCommittedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		r := w.replica("a")
		r.linger = time.Hour
		s := r.start(t, partition.Config{})
		<-time.After(time.Second)
		s.Urge(1, 1)
		for p := range 2 {
			w.publish(p, 1)
			<-time.After(time.Second)
			w.publish(p, 3)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		require.Len(t, w.row(0).applied, 1)
		require.Len(t, w.row(1).applied, 1, "of the other, 1 was urged, which is the first one's")

		all := w.log(1)
		s.Urge(1, all[len(all)-1].Message.Sequence)
		synctest.Wait()
		require.Len(t, w.row(0).applied, 1)
		require.Len(t, w.row(1).applied, 4)
		stop(t, s) // lingering or not
		require.Len(t, w.row(0).applied, 4)
		s.Urge(0, 1) // nobody has it
	})
}

func TestAHandoverWaitsForNoLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		a := w.replica("a")
		a.linger = time.Hour
		first := w.hears(a.start(t, partition.Config{}))
		<-time.After(time.Second)
		for p := range 2 {
			w.publish(p, 1)
			<-time.After(time.Second)
			w.publish(p, 3)
		}
		second := w.hears(w.replica("b").start(t, partition.Config{}))
		<-time.After(lease / 2)
		synctest.Wait()
		owners := map[string]int{}
		for p := range 2 {
			owners[w.row(p).owner]++
			if w.row(p).owner == "b" {
				require.Len(t, w.row(p).applied, 4)
			}
		}
		require.Equal(t, map[string]int{"a": 1, "b": 1}, owners)
		stop(t, first)
		stop(t, second)
	})
}
