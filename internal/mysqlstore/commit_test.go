package mysqlstore

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// count is the number of rows of a run.
func count(t testing.TB, db *sql.DB, run string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM workflow_steps WHERE run_id=?", run).Scan(&n))
	return n
}

func position(t testing.TB, s *Store, no int) uint64 {
	t.Helper()
	p, err := s.Position(t.Context(), no)
	require.NoError(t, err)
	return p
}

func TestI2RowsAndPositionCommitTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prefix  string
		how     int
		written bool // whether the first attempt did it
	}{
		{"the connection breaks before the position moved", "UPDATE", before, false},
		{"the connection breaks after the position moved and before any row", "UPDATE", after, false},
		{"the connection breaks before the rows", "INSERT", before, false},
		{"the connection breaks after the rows and before the commit", "INSERT", after, false},
		{"the connection breaks before the commit", "COMMIT", before, false},
		{"the commit succeeds and the answer is lost", "COMMIT", after, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, dsn, look := ready(t)
			dsn, faults := faulty(t, dsn)
			s := open(t, dsn)
			require.NoError(t, s.Register(t.Context(), testLog))
			term := acquire(t, s, 0)
			b := batch(term, save(5, "run", 1, `1`), save(6, "run", 2, `2`))

			faults.next(tt.prefix, tt.how)
			requireClass(t, batcher.Again, s.Commit(t.Context(), b))
			require.EqualValues(t, 1, faults.fired.Load())
			rows, at := 0, uint64(0)
			if tt.written {
				rows, at = 2, 6
			}
			require.Equal(t, rows, count(t, look, "run"))
			require.Equal(t, at, position(t, s, 0))

			require.NoError(t, s.Commit(t.Context(), b), "the same batch again")
			require.Equal(t, 2, count(t, look, "run"))
			require.EqualValues(t, 6, position(t, s, 0))
		})
	}
}

func TestEveryBatchAppliedTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 1)
	after := func(position uint64) partition.Term {
		return partition.Term{Partition: 1, Epoch: term.Epoch, Position: position}
	}
	for _, b := range []*batcher.Batch{
		batch(term, save(3, "b", 1, `1`), save(4, "a", 1, `2`), save(5, "b", 1, `3`)),
		batch(after(5), eventOf(9, "b", stepOp(1, `"nine"`), stepOp(1, `"of the same event"`)), save(10, "a", 2, `{}`)),
		batch(after(10), attemptOf(1, keyedEvent(11, "a", "1", "k")), eventOf(12, "", checkpointOp("cp", 1, "1"), checkpointOp("cp", 2, "2")), keyedEvent(13, "b", "2", "k")),
		batch(after(13), eventOf(14, "b", deleteOp), attemptOf(1, eventOf(15, "a", deleteOp, v2Op(1, "k", "3"))), begin(16, "a", 2)),
	} {
		require.NoError(t, s.Commit(t.Context(), b))
		first := dump(t, look)
		require.NoError(t, s.Commit(t.Context(), b), "as after an answer that was lost")
		require.Equal(t, first, dump(t, look))

		rewind(t, look, 1, b.After)
		require.NoError(t, s.Commit(t.Context(), b), "as after a restored position row")
		require.Equal(t, first, dump(t, look))
	}
}

func TestI3ABatchThatIsNotOursWritesNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change string // what stands in the partition's row
		want   batcher.Class
	}{
		{"another owner has the same epoch", "owner='two'", batcher.Lost},
		{"we have it, but in a later epoch", "epoch=epoch+1", batcher.Lost},
		{"nobody has it", "owner=''", batcher.Lost},
		{"another owner committed the same batch", "owner='two', epoch=epoch+1, position=6", batcher.Lost},
		{"the name differs in case only", "owner='ONE'", batcher.Lost},
		{"the position is behind: the database was restored", "position=2", batcher.Moved},
		{"the position is in the middle of the batch", "position=5", batcher.Moved},
		{"the position is beyond the batch", "position=7", batcher.Moved},
		{"the stream was registered again under another generation", "generation=generation+1", batcher.Lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			term := acquire(t, s, 0)
			commit(t, s, &term, save(4, "run", 0, `0`))
			_, err := look.ExecContext(t.Context(), "UPDATE persistd_partitions SET "+tt.change+" WHERE partition_no=0")
			require.NoError(t, err)
			was, err := s.Positions(t.Context())
			require.NoError(t, err)

			requireClass(t, tt.want, s.Commit(t.Context(), batch(term, save(5, "run", 1, `1`), save(6, "run", 2, `2`))))
			require.Equal(t, 1, count(t, look, "run"))
			is, err := s.Positions(t.Context())
			require.NoError(t, err)
			require.Equal(t, was[0].Position, is[0].Position)
			require.Equal(t, was[0].Owner, is[0].Owner)
			require.Equal(t, was[0].UpdatedAt, is[0].UpdatedAt)
		})
	}
	t.Run("the partition's row is gone", func(t *testing.T) {
		t.Parallel()
		s, _, look := ready(t)
		term := acquire(t, s, 0)
		_, err := look.ExecContext(t.Context(), "DELETE FROM persistd_partitions")
		require.NoError(t, err)
		requireClass(t, batcher.Lost, s.Commit(t.Context(), batch(term, save(5, "run", 1, `1`))))
		require.Zero(t, count(t, look, "run"))
	})
}

func TestI3ACommitThatWaitedWhileItsTermWasLostWritesNothing(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	tx, err := look.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "UPDATE persistd_partitions SET owner='two', epoch=epoch+1 WHERE partition_no=0")
	require.NoError(t, err)
	done := make(chan error)
	go func() { done <- s.Commit(t.Context(), batch(term, save(5, "run", 1, `1`))) }()
	awaitLockWait(t, look)
	require.NoError(t, tx.Commit())
	requireClass(t, batcher.Lost, <-done)
	require.Zero(t, count(t, look, "run"))
}

// awaitLockWait returns when a transaction of look's database waits for a lock. The servers renew what they tell of transactions
// only once nobody has asked for 100 ms, so it asks rarely.
func awaitLockWait(t testing.TB, look *sql.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.innodb_trx x"+
			" JOIN information_schema.processlist p ON p.id=x.trx_mysql_thread_id WHERE x.trx_state='LOCK WAIT' AND p.db=DATABASE()").Scan(&n)
		return err == nil && n > 0
	}, time.Minute, 250*time.Millisecond)
}

func TestABatchOfPoisonMovesThePosition(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	poison := wire.Event{Message: wire.Message{Sequence: 8}, Poison: &wire.Poison{Code: wire.CodeBody, Reason: "bad"}}
	commit(t, s, &term, poison)
	require.EqualValues(t, 8, position(t, s, 0))
	poison.Message.Sequence = 10
	commit(t, s, &term, save(9, "run", 1, `1`), poison)
	require.EqualValues(t, 10, position(t, s, 0))
	require.Equal(t, 1, count(t, look, "run"))
}

func TestADeadlockIsAgain(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	events := []wire.Event{save(1, "a", 1, `1`), save(2, "b", 1, `1`)}
	for i := range 50 {
		events = append(events, save(uint64(3+i), "heavy", int32(i), `1`))
	}
	commit(t, s, &term, events...)

	committed := &sql.TxOptions{Isolation: sql.LevelReadCommitted} // locks no rows but those that it changes
	other, err := look.BeginTx(t.Context(), committed)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Rollback()) }()
	for _, run := range []string{"heavy", "b"} { // the heavier transaction survives
		_, err := other.ExecContext(t.Context(), "UPDATE workflow_steps SET node_id='other' WHERE run_id=?", run)
		require.NoError(t, err)
	}
	b := batch(term, save(101, "a", 1, `2`), save(102, "b", 1, `2`))
	done := make(chan error)
	go func() { done <- s.Commit(t.Context(), b) }()
	awaitLockWait(t, look)
	_, err = other.ExecContext(t.Context(), "UPDATE workflow_steps SET node_id='other' WHERE run_id='a'")
	require.NoError(t, err)
	err = <-done
	requireClass(t, batcher.Again, err)
	var e *batcher.Error
	require.ErrorAs(t, err, &e)
	require.EqualValues(t, 1213, e.Number)
	require.Equal(t, term.Position, position(t, s, 0))
	require.NoError(t, other.Commit())
	other, err = look.BeginTx(t.Context(), committed) // for the deferred Rollback
	require.NoError(t, err)
	require.NoError(t, s.Commit(t.Context(), b), "the same batch again")
}

func TestCommitsOfTwoPartitionsOnTheSameRowsTakeTheirLocksInOneOrder(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	const rows, rounds = 30, 40
	var g errgroup.Group
	for no := range 2 {
		term := acquire(t, s, no)
		if no == 0 {
			var all []wire.Event
			for i := range rows {
				all = append(all, save(uint64(i+1), fmt.Sprint("run", i), 1, `1`))
			}
			commit(t, s, &term, all...)
		}
		g.Go(func() error {
			for n := range uint64(rounds) {
				var events []wire.Event
				for i := range rows {
					if no == 1 {
						i = rows - 1 - i
					}
					events = append(events, save(1000*(n+1)+uint64(len(events)), fmt.Sprint("run", i), 1, `2`))
				}
				b := batch(term, events...)
				if err := s.Commit(t.Context(), b); err != nil {
					return err
				}
				term.Position = b.Last()
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}

func TestACommitExtendsItsLease(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	_, err := look.ExecContext(t.Context(), "UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)+INTERVAL 1 SECOND")
	require.NoError(t, err)
	commit(t, s, &term, save(1, "run", 1, `1`))
	rows, err := s.Positions(t.Context())
	require.NoError(t, err)
	require.Greater(t, rows[0].LeaseFor, leased/2)
}

func TestACommitBeforeTheLogIsRegisteredIsAgain(t *testing.T) {
	t.Parallel()
	s := open(t, "root@tcp(127.0.0.1:1)/none")
	requireClass(t, batcher.Again, s.Commit(t.Context(), batch(partition.Term{}, save(1, "run", 1, `1`))))
}
