package partition_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

func TestDatabaseThatIsAwayIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.publish(0, 3)
		r := w.replica("a")
		for range 11 {
			r.fail("acquire", errCut)
		}
		s := r.start(t, partition.Config{})
		synctest.Wait()
		require.EqualError(t, s.Status()[0].Err, "acquire partition 0: connection refused")
		<-time.After(20 * time.Second)
		us := func(n int) time.Duration { return time.Duration(n) * time.Microsecond }
		require.Equal(t, []time.Duration{
			0, 100 * ms, 250 * ms, 475 * ms, us(812_500), us(1_318_750), us(2_078_125), us(3_217_187) + 500, us(4_925_781) + 250,
			us(6_925_781) + 250, us(8_925_781) + 250, us(10_925_781) + 250, // at most a fifth of the lease
		}, r.called("acquire"))
		require.Equal(t, sequences(1, 3), w.row(0).applied)

		w.take(0, "other", time.Hour)
		w.publish(0, 1)
		looks := len(r.called("look"))
		<-time.After(3 * time.Second)
		const at = 20 * time.Second
		require.Empty(t, r.called("acquire")[12:], "a look shows that there is nothing to acquire")
		require.Equal(t, []time.Duration{at + 100*ms, at + 2101*ms}, r.called("look")[looks:])
		stop(t, s)
	})
}

func TestHangingDatabaseIsGivenUpAfterALease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newWorld(1).replica("a")
		r.fail("acquire", errHang)
		s := r.start(t, partition.Config{})
		<-time.After(lease + time.Second)
		require.Equal(t, []time.Duration{0, lease + 100*ms}, r.called("acquire"))
		stop(t, s)
	})
}

func TestRenewalThatFailsEndsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		r := w.replica("a")
		r.fail("renew", errCut, errHang, errCut)
		s := r.start(t, partition.Config{})
		<-time.After(2 * lease)
		w.publish(0, 3)
		<-time.After(time.Second)
		require.Equal(t, sequences(1, 3), w.row(0).applied)
		require.EqualValues(t, 1, w.row(0).epoch)
		third := lease / 3
		require.Equal(t, []time.Duration{third, 2 * third, 4 * third, 5 * third, 6 * third}, r.called("renew"), "a hanging one is cut off after a third of the lease")
		stop(t, s)
	})
}
