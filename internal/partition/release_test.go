package partition_test

import (
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
