package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/linear"
	"github.com/persistd/persistd/pkg/client"
)

const historyCalls = 24_000

// I6: whoever answers, and however far MySQL is behind, a read of a run, of a named checkpoint or of a V2 checkpoint returns what was
// acknowledged before it began. Commits and reads are slowed down at random, the log is trimmed as soon as it is committed, and the replica
// that applies it is killed in the middle.
func TestReadsAreLinearizablePerKeyWhileAReplicaIsKilled(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{
		"PERSISTD_STREAM_PARTITIONS=2", "PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=20ms",
		"PERSISTD_LEASE_DURATION=1s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=500ms",
	}
	owner := s.spawn("slow:1", append(settings, "PERSISTD_INSTANCE=owner")...)
	s.eventually("owner has both partitions", func() bool { return s.owned("owner") == 2 })
	var cases readCases
	s.serveHere(cases.count(slow(2)), append(settings, "PERSISTD_INSTANCE=other")...)

	w := &linear.Workload{
		Open: func(ctx context.Context, _ int) (client.Store[linear.State], error) {
			return client.Open[linear.State](ctx, s.url, client.WithAttemptTimeout(time.Second))
		},
		History: linear.New(), Clients: 24, Keys: 6, Seed: 7, Calls: historyCalls,
		Committed: func(run string, step int) error {
			if s.rows("run_id = ? AND step = ?", run, step) != 1 {
				return fmt.Errorf("step %d of %s was committed and has no row", step, run)
			}
			return nil
		},
	}
	killed := make(chan struct{})
	w.Each = func(n int64) {
		if n == historyCalls/3 {
			close(killed)
		}
	}
	over := make(chan error, 1)
	go func() { over <- w.Run(t.Context()) }()
	select {
	case <-killed:
		owner.kill()
		s.spawn("slow:3", append(settings, "PERSISTD_INSTANCE=third")...)
		require.NoError(t, <-over)
	case err := <-over:
		require.NoError(t, err)
		require.FailNow(t, "workload ended before the owner was killed")
	}

	require.GreaterOrEqual(t, w.History.Len(), 20_000)
	require.NoError(t, w.History.Check(10*time.Minute))
	did := &w.Counts
	require.Positive(t, did.Committed.Load())
	for name, n := range map[string]*atomic.Int64{
		"named checkpoints": &did.Checkpoints, "V2 checkpoints": &did.CheckpointsV2, "transactions": &did.Transactions, "found checkpoints": &did.Found,
	} {
		require.Greaterf(t, n.Load(), int64(200), "calls on %s", name)
	}
	s.eventually("somebody goes on where the dead replica was", func() bool { return s.owned("other")+s.owned("third") == 2 })
	for name, n := range map[string]*atomic.Int64{
		"a row alone": &cases.row, "a tail before the row": &cases.tailFirst, "a row before the tail": &cases.rowFirst,
		"a tail that was overtaken": &cases.overtaken,
	} {
		require.Greaterf(t, n.Load(), int64(20), "reads that met %s", name)
	}
	require.Zero(t, s.rows("log_seq = 0"))
	t.Logf("reads here: row %d, tail first %d, row first %d, overtaken %d; committed %d; unknown outcomes %d", cases.row.Load(),
		cases.tailFirst.Load(), cases.rowFirst.Load(), cases.overtaken.Load(), did.Committed.Load(), did.Unknown.Load())
}

// owned counts the partitions of which instance has the lease.
func (s *stack) owned(instance string) (n int) {
	if s.db.QueryRow("SELECT COUNT(*) FROM persistd_partitions WHERE owner = ? AND lease_until > UTC_TIMESTAMP(6)", instance).Scan(&n) != nil {
		return -1
	}
	return n
}
