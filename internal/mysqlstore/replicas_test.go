package mysqlstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

func TestLookShowsPartitionsAndReplicas(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	v, err := s.Look(t.Context())
	require.NoError(t, err)
	require.Equal(t, "one", v.Self)
	require.Empty(t, v.Replicas, "nobody said that it is there")
	require.Len(t, v.Leases, testLog.Partitions)

	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	_, err = two.Renew(t.Context(), nil, true)
	require.NoError(t, err)
	mine := []partition.Term{acquire(t, s, 1)}
	lost, err := s.Renew(t.Context(), mine, true)
	require.NoError(t, err)
	require.Empty(t, lost)
	acquire(t, two, 2)
	exec(t, look, "UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)-INTERVAL 1 MICROSECOND WHERE partition_no=2")

	for _, s := range []*Store{s, two} {
		v, err = s.Look(t.Context())
		require.NoError(t, err)
		require.Equal(t, s.config.Owner, v.Self)
		require.Len(t, v.Replicas, 2)
		for _, left := range v.Replicas {
			require.InDelta(t, leased, left, float64(leased/2))
		}
		require.InDelta(t, leased, v.Leases[1].Left, float64(leased/2))
		require.GreaterOrEqual(t, v.Leases[1].Left, v.Replicas["one"], "a replica does not outlive its leases")
		require.Equal(t, "one", v.Leases[1].Owner)
		require.Equal(t, "two", v.Leases[2].Owner)
		require.LessOrEqual(t, v.Leases[2].Left, time.Duration(0))
		require.Empty(t, v.Leases[0].Owner)
	}

	for range 2 { // it is idempotent
		lost, err = s.Renew(t.Context(), mine, false)
		require.NoError(t, err)
		require.Empty(t, lost)
	}
	v, err = two.Look(t.Context())
	require.NoError(t, err)
	require.NotContains(t, v.Replicas, "one", "it took it back")
	require.Equal(t, "one", v.Leases[1].Owner, "and keeps its leases for as long as it drains")
	require.Greater(t, v.Leases[1].Left, leased/2)
	_, err = two.Renew(t.Context(), nil, false)
	require.NoError(t, err)
	v, err = two.Look(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Replicas)
}

func TestReplicasOfAnotherStreamAreNotSeen(t *testing.T) {
	t.Parallel()
	s, dsn, _ := ready(t)
	again := testLog
	again.Created = created.Add(time.Second)
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), again))
	_, err := two.Renew(t.Context(), nil, true)
	require.NoError(t, err)
	v, err := s.Look(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Replicas)
}

func TestReplicaThatIsNotHeardOfIsNotThereAndForgottenLater(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	for _, name := range []string{"two", "three"} {
		other := open(t, dsn, owner(name))
		require.NoError(t, other.Register(t.Context(), testLog))
		_, err := other.Renew(t.Context(), nil, true)
		require.NoError(t, err)
	}
	exec(t, look, "UPDATE persistd_replicas SET seen_until=UTC_TIMESTAMP(6)-INTERVAL 1 SECOND WHERE instance='two'")
	exec(t, look, "UPDATE persistd_replicas SET seen_until=UTC_TIMESTAMP(6)-INTERVAL 2 HOUR WHERE instance='three'")
	v, err := s.Look(t.Context())
	require.NoError(t, err)
	require.Empty(t, v.Replicas)
	_, err = s.Renew(t.Context(), nil, true)
	require.NoError(t, err)
	var names string
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(instance ORDER BY instance) FROM persistd_replicas").Scan(&names))
	require.Equal(t, "one,two", names)
}

// The lease has ended and its owner, paused in the middle of a commit, still has the row locked.
func TestAcquireDoesNotWaitForATransactionThatOutlivedItsLease(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	acquire(t, s, 0)
	exec(t, look, "UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)-INTERVAL 1 SECOND")
	commit, err := look.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = commit.ExecContext(t.Context(), "UPDATE persistd_partitions SET position=1 WHERE "+string(s.registered.Load().appendKey(nil, 0)))
	require.NoError(t, err)
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	_, err = two.Acquire(t.Context(), 0, false) // would wait for 50 s, and fail
	require.ErrorIs(t, err, partition.ErrHeld)
	require.ErrorContains(t, err, `"one" has a transaction open`)
	_, err = two.Look(t.Context())
	require.NoError(t, err)
	require.NoError(t, commit.Rollback())
	require.EqualValues(t, 2, acquire(t, two, 0).Epoch)
}
