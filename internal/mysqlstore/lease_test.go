package mysqlstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
)

func TestAcquire(t *testing.T) {
	t.Parallel()
	const (
		running = "lease_until=UTC_TIMESTAMP(6)+INTERVAL 1 HOUR"
		ended   = "lease_until=UTC_TIMESTAMP(6)-INTERVAL 1 MICROSECOND"
	)
	for _, tt := range []struct {
		name    string
		row     string // what stands in the partition's row, in epoch 7
		reclaim bool
		taken   bool
	}{
		{"nobody has it", "owner='', " + ended, false, true},
		{"it was released by a clock that ran ahead", "owner='', " + running, false, true},
		{"another owner's lease runs", "owner='two', " + running, false, false},
		{"another owner's lease runs and ours would be reclaimed", "owner='two', " + running, true, false},
		{"another owner's lease has ended", "owner='two', " + ended, false, true},
		{"our own lease runs and may be a live one", "owner='one', " + running, false, false},
		{"our own lease runs and is a dead predecessor's", "owner='one', " + running, true, true},
		{"an owner whose name differs in case is another", "owner='ONE', " + running, true, false},
		{"our own lease has ended", "owner='one', " + ended, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			_, err := look.ExecContext(t.Context(), "UPDATE persistd_partitions SET epoch=7, position=42, "+tt.row)
			require.NoError(t, err)
			term, err := s.Acquire(t.Context(), 3, tt.reclaim)
			rows, rowsErr := s.Positions(t.Context())
			require.NoError(t, rowsErr)
			if !tt.taken {
				require.ErrorIs(t, err, partition.ErrHeld)
				require.EqualValues(t, 7, rows[3].Epoch)
				return
			}
			require.NoError(t, err)
			require.Equal(t, partition.Term{Partition: 3, Epoch: 8, Position: 42}, term)
			require.Equal(t, "one", rows[3].Owner)
			require.InDelta(t, leased, rows[3].LeaseFor, float64(leased/2))
			require.EqualValues(t, 7, rows[2].Epoch, "other partitions stay")
		})
	}
}

func TestI3OfManyOwnersAtOnceOneAcquires(t *testing.T) {
	t.Parallel()
	_, dsn, _ := ready(t)
	terms := make(chan error, 8)
	for i := range cap(terms) {
		s := open(t, dsn, owner(string(rune('a'+i))))
		require.NoError(t, s.Register(t.Context(), testLog))
		go func() {
			_, err := s.Acquire(t.Context(), 0, false)
			terms <- err
		}()
	}
	taken := 0
	for range cap(terms) {
		if err := <-terms; err == nil {
			taken++
		} else {
			require.ErrorIs(t, err, partition.ErrHeld)
		}
	}
	require.Equal(t, 1, taken)
}

func TestRenewReturnsTheTermsThatAreLost(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	var terms []partition.Term
	for no := range 4 {
		terms = append(terms, acquire(t, s, no))
	}
	for _, q := range []string{
		"UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)+INTERVAL 1 SECOND",
		"UPDATE persistd_partitions SET owner='two', epoch=epoch+1 WHERE partition_no=1",
		"UPDATE persistd_partitions SET epoch=epoch+1 WHERE partition_no=2",
		"DELETE FROM persistd_partitions WHERE partition_no=3",
	} {
		_, err := look.ExecContext(t.Context(), q)
		require.NoError(t, err)
	}
	lost, err := s.Renew(t.Context(), terms, true)
	require.NoError(t, err)
	require.Equal(t, terms[1:], lost)
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Greater(t, rows[0].LeaseFor, leased/2)
	require.Less(t, rows[1].LeaseFor, 2*time.Second, "another owner's lease is not ours to renew")
	require.Less(t, rows[2].LeaseFor, 2*time.Second, "nor is a later term's")

	lost, err = s.Renew(t.Context(), nil, true)
	require.NoError(t, err)
	require.Empty(t, lost)
}

func TestRenewDoesNotWaitForACommit(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	terms := []partition.Term{acquire(t, s, 0), acquire(t, s, 1)}
	_, err := look.ExecContext(t.Context(), "UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)+INTERVAL 1 SECOND")
	require.NoError(t, err)
	commit, err := look.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, commit.Rollback()) }()
	_, err = commit.ExecContext(t.Context(), "UPDATE persistd_partitions SET position=1 WHERE "+string(s.registered.Load().appendKey(nil, 0)))
	require.NoError(t, err)

	lost, err := s.Renew(t.Context(), terms, true) // would wait for 50 s, and fail
	require.NoError(t, err)
	require.Empty(t, lost)
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Greater(t, rows[1].LeaseFor, leased/2)
}

func TestAcquireDoesNotWaitForTheOwnersCommit(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	acquire(t, s, 0)
	commit, err := look.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, commit.Rollback()) }()
	_, err = commit.ExecContext(t.Context(), "UPDATE persistd_partitions SET position=1 WHERE "+string(s.registered.Load().appendKey(nil, 0)))
	require.NoError(t, err)
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	_, err = two.Acquire(t.Context(), 0, false) // would wait for 50 s, and fail
	require.ErrorIs(t, err, partition.ErrHeld)
}

func TestI2AGenerationThatAnotherReplicaRegisteredIsLearnt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	exec(t, look, "UPDATE persistd_partitions SET generation=9")
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "run", 1, `1`))
	require.EqualValues(t, 9, readRow(t, look, "run", 1).gen)
}

func TestReleaseEndsOnlyItsOwnTerm(t *testing.T) {
	t.Parallel()
	s, dsn, _ := ready(t)
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	first := acquire(t, s, 0)
	_, err := two.Acquire(t.Context(), 0, true)
	require.ErrorIs(t, err, partition.ErrHeld)

	require.NoError(t, s.Release(t.Context(), first))
	require.NoError(t, s.Release(t.Context(), first), "it is idempotent")
	second := acquire(t, two, 0)
	require.Equal(t, first.Epoch+1, second.Epoch)
	require.NoError(t, s.Release(t.Context(), first), "a term that is lost is no error")
	requireClass(t, batcher.Lost, s.Commit(t.Context(), batch(first, save(1, "run", 1, `1`))))
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Equal(t, "two", rows[0].Owner)
}

func TestReleaseOfAPredecessorsTermLeavesOurs(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	first := acquire(t, s, 0)
	second, err := s.Acquire(t.Context(), 0, true)
	require.NoError(t, err)
	require.NoError(t, s.Release(t.Context(), first))
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Equal(t, "one", rows[0].Owner)
	require.NoError(t, s.Release(t.Context(), partition.Term{Partition: 0, Epoch: second.Epoch + 1}), "nor does a later one's")
	rows, err = s.Positions(t.Context())
	require.NoError(t, err)
	require.Equal(t, "one", rows[0].Owner)
	require.NoError(t, s.Release(t.Context(), second))
	rows, err = s.Positions(t.Context())
	require.NoError(t, err)
	require.Empty(t, rows[0].Owner)
}

func TestI2ADatabaseRestoredToBeforeTheRegistrationBeginsAgain(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(9, "run", 1, `1`))
	for _, q := range []string{"DELETE FROM persistd_partitions", "DELETE FROM persistd_streams", "DELETE FROM workflow_steps"} {
		_, err := look.ExecContext(t.Context(), q)
		require.NoError(t, err)
	}
	again, err := s.Acquire(t.Context(), 0, false)
	require.NoError(t, err)
	require.Zero(t, again.Position)
	commit(t, s, &again, save(9, "run", 1, `1`))
	require.Equal(t, 1, count(t, look, "run"))

	_, err = s.Acquire(t.Context(), 4, false)
	requireClass(t, batcher.Again, err) // there is no such partition
}
