package partition_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

func TestI1OwnedPartitionsAreTrimmedUpToThePositionInTheDatabase(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(3)
		w.take(1, "other", 90*time.Second)
		w.publish(0, 4) // 1..4
		w.publish(1, 2) // 5, 6
		w.restore(1, 5) // the other has committed 5
		r := w.replica("a")
		s := r.start(t, partition.Config{ReplayWindow: time.Hour})
		<-time.After(61 * time.Second)
		first := trim{time.Minute, 0, 4, time.Hour}
		require.Equal(t, []trim{first}, w.trimmed(), "1 is another's, and 2 has nothing committed")

		w.restore(0, 3)
		<-time.After(time.Minute) // meanwhile the lease of 1 ran out
		require.Equal(t, []trim{first, {2 * time.Minute, 0, 3, time.Hour}, {2 * time.Minute, 1, 6, time.Hour}}, w.trimmed(),
			"what was committed before the restore is needed again")
		stop(t, s)
		<-time.After(time.Hour)
		require.Len(t, w.trimmed(), 3)
	})
}

func TestTrimThatFailsKeepsNobodyElseFromIt(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		method string
		fault  error
		at     time.Duration // the second partition's trim
	}{
		"the database is away":    {"position", errCut, time.Minute},
		"the database hangs":      {"position", errHang, 2 * time.Minute},
		"the log is away":         {"trim", errCut, time.Minute},
		"the log does not answer": {"trim", errHang, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(2)
				w.publish(0, 1)
				w.publish(1, 1)
				r := w.replica("a")
				r.fail(row.method, row.fault)
				s := r.start(t, partition.Config{})
				<-time.After(row.at + time.Second)
				require.Len(t, w.trimmed(), 1)
				require.Equal(t, trim{row.at, 1, 2, row.at - time.Minute}, w.trimmed()[0])
				<-time.After(time.Minute)
				require.Len(t, w.trimmed(), 3, "and the next time both")
				stop(t, s)
			})
		})
	}
}

func TestTrimHasItsTimeHoweverOftenThereIsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		w.publish(0, 1)
		w.publish(1, 1)
		r := w.replica("a")
		r.fail("trim", errHang)
		s := r.start(t, partition.Config{TrimEvery: 100 * time.Millisecond})
		<-time.After(10 * time.Second)
		require.Empty(t, w.trimmed(), "the first one's has not been cut off yet")
		<-time.After(time.Second)
		require.NotEmpty(t, w.trimmed(), "it was, and the second one had its turn")
		stop(t, s)
	})
}
