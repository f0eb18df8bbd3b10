package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestDirectDecidesKeysAndAttemptsAndThenChangesNothing(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	d, look := direct(t, dsn), plain(t, dsn)
	require.NoError(t, d.Apply(t.Context(), of("run", stepOp(1, `1`), v2Op(1, "key", `1`))))
	require.NoError(t, d.Apply(t.Context(), of("run", stepOp(1, `1`), v2Op(1, "key", `1`))), "the same again")
	err := d.Apply(t.Context(), of("run", stepOp(2, `2`), v2Op(1, "key", `2`), v2Op(2, "new", `2`)))
	require.ErrorIs(t, err, ErrDuplicate)
	requireClass(t, batcher.Refused, err)
	keys, err := d.Keys(t.Context(), []string{"key", "new"})
	require.NoError(t, err)
	require.Len(t, keys, 1)

	n, err := d.BeginAttempt(t.Context(), "run")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	ev := of("run", stepOp(3, `3`))
	require.ErrorIs(t, d.Apply(t.Context(), ev), ErrStale)
	ev.Attempt = 2 // begins by itself
	require.NoError(t, d.Apply(t.Context(), ev))
	ev.Attempt = 1
	require.ErrorIs(t, d.Apply(t.Context(), ev), ErrStale)
	latest, err := d.Latest(t.Context(), "run")
	require.NoError(t, err)
	require.EqualValues(t, 2, latest.Attempt)
	begun, err := d.Attempt(t.Context(), "run")
	require.NoError(t, err)
	require.EqualValues(t, 2, begun)
	require.Equal(t, 2, count(t, look, "run"))

	require.NoError(t, d.Apply(t.Context(), of("run", deleteOp)), "an operator's")
	require.Zero(t, count(t, look, "run"))
	n, err = d.BeginAttempt(t.Context(), "run")
	require.NoError(t, err)
	require.EqualValues(t, 3, n)
}

func TestOfSeveralWhoRaceForAKeyOneWins(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	var won, lost, attempts atomic.Int64
	var mu sync.Mutex
	numbers := map[uint32]bool{}
	var g errgroup.Group
	for p := range 4 {
		d := direct(t, dsn)
		for w := range 3 {
			g.Go(func() error {
				for i := range 10 {
					key := fmt.Sprint("key", i)
					err := d.Apply(t.Context(), of(fmt.Sprint("run", p), v2Op(int32(w), key, fmt.Sprint(10*p+w))))
					switch {
					case err == nil:
						won.Add(1)
					case errors.Is(err, ErrDuplicate):
						lost.Add(1)
					default:
						return err
					}
					n, err := d.BeginAttempt(t.Context(), "contended")
					if err != nil {
						return err
					}
					attempts.Add(1)
					mu.Lock()
					numbers[n] = true
					mu.Unlock()
				}
				return nil
			})
		}
	}
	require.NoError(t, g.Wait())
	require.EqualValues(t, 10, won.Load())
	require.EqualValues(t, 110, lost.Load())
	require.Len(t, numbers, int(attempts.Load()), "no attempt's number is given twice")
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	d, look := direct(t, dsn), plain(t, dsn)
	for i := range int32(50) {
		require.NoError(t, d.Apply(t.Context(), of("run", stepOp(i, `0`))))
	}
	other, err := look.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	require.NoError(t, err)
	defer func() { _ = other.Rollback() }()
	_, err = other.ExecContext(t.Context(), "UPDATE workflow_steps SET state='\"other\"' WHERE run_id='run' AND step>=2") // much, so that it is not the victim
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- d.Apply(t.Context(), of("run", stepOp(1, `1`), stepOp(2, `2`))) }()
	require.Eventually(t, func() bool {
		var waits int
		err := look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.innodb_trx x JOIN information_schema.processlist p"+
			" ON p.id=x.trx_mysql_thread_id WHERE p.db=DATABASE() AND x.trx_state='LOCK WAIT'").Scan(&waits)
		return err == nil && waits == 1
	}, time.Minute, 250*time.Millisecond) // asked more often, MariaDB repeats its answer
	_, err = other.ExecContext(t.Context(), "UPDATE workflow_steps SET state='\"other\"' WHERE run_id='run' AND step=1")
	require.NoError(t, err)
	require.NoError(t, other.Commit())
	require.NoError(t, <-done)
	require.Equal(t, "1", readRow(t, look, "run", 1).state)
	require.Equal(t, "2", readRow(t, look, "run", 2).state)
}

func TestWhatBecameOfACommitThatWasNotAnsweredIsNotClaimedToBeKnown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, prefix string
		how          int
		unknown      bool
		rows         int
	}{
		{"the connection breaks before the rows", "INSERT", before, false, 0},
		{"the connection breaks after the rows", "INSERT", after, false, 0},
		{"the connection breaks before the commit", "COMMIT", before, true, 0},
		{"the answer to the commit is lost", "COMMIT", after, true, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dsn := stacktest.Database(t)
			direct(t, dsn)
			faultyDSN, faults := faulty(t, dsn)
			d, look := direct(t, faultyDSN), plain(t, dsn)
			ev := of("run", stepOp(1, `1`), v2Op(1, "key", `1`))
			faults.next(tt.prefix, tt.how)
			err := d.Apply(t.Context(), ev)
			require.EqualValues(t, 1, faults.fired.Load())
			requireClass(t, batcher.Again, err)
			require.Equal(t, tt.unknown, errors.Is(err, ErrUnknown))
			require.Equal(t, tt.rows, count(t, look, "run"))
			require.NoError(t, d.Apply(t.Context(), ev), "again is safe")
			require.Equal(t, 1, count(t, look, "run"))
		})
	}
}

func TestAServerThatSaysNothingDoesNotHoldACallBeyondItsContext(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"START", "INSERT", "COMMIT"} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			dsn, faults := faulty(t, stacktest.Database(t))
			d := direct(t, dsn)
			ctx, cancel := context.WithCancel(t.Context())
			faults.next(prefix, hang)
			done := make(chan error, 1)
			go func() { done <- d.Apply(ctx, of("run", stepOp(1, `1`))) }()
			<-faults.hung
			cancel()
			err := <-done
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, prefix == "COMMIT", errors.Is(err, ErrUnknown))
		})
	}
}
