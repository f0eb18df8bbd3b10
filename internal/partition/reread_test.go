package partition_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

// Who cannot read a partition leaves it to another, also one that has its share; and what is given back is given ever more rarely.
func TestPartitionThatItsOwnerCannotReadIsTakenByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 2, 2, time.Second)
		c.balances(3 * time.Second)
		broken := c.reps["r0"]
		for range 1000 {
			broken.fail("read", errCut)
			broken.fail("read on", errCut)
		}
		began := time.Now()
		<-time.After(lease)
		require.Equal(t, map[string]int{"r0": 0, "r1": 2}, c.owns())
		require.Less(t, c.row(0).longest+c.row(1).longest, lease/2+2*time.Second)
		tries := len(broken.called("acquire"))
		<-time.After(30 * time.Minute)
		require.Less(t, len(broken.called("acquire"))-tries, 20)
		broken.fmu.Lock()
		broken.faults = map[string][]error{}
		broken.fmu.Unlock()
		t.Logf("balanced %s after it can read again, %s after it could not", c.balances(64*lease+lease), time.Since(began))
		c.home(lease)
	})
}

// That a partition is to be read again is nobody's inability: it stays where it is.
func TestPartitionThatIsToBeReadAgainStaysWithItsOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 2, 2, time.Second)
		c.balances(3 * time.Second)
		<-time.After(2 * far) // the first read has begun: it is not one of those that fail
		owners := c.owns()
		again := fmt.Errorf("position went back: %w", partition.ErrAgain)
		c.reps["r0"].fail("read on", again)
		c.reps["r0"].fail("read", again, again, again)
		reads := len(c.reps["r0"].called("read"))
		<-time.After(lease / 2)
		require.Equal(t, owners, c.owns())
		require.Equal(t, 4, len(c.reps["r0"].called("read"))-reads)
		c.home(lease)
	})
}
