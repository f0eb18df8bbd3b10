package mysqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
)

func TestAHungConnectionDoesNotHangACommit(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"UPDATE", "INSERT", "COMMIT"} {
		t.Run(prefix, func(t *testing.T) {
			t.Parallel()
			_, dsn, look := ready(t)
			dsn, faults := faulty(t, dsn)
			s := open(t, dsn)
			require.NoError(t, s.Register(t.Context(), testLog))
			b := batch(acquire(t, s, 0), save(5, "run", 1, `1`))

			faults.next(prefix, hang)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- s.Commit(ctx, b) }()
			<-faults.hung
			cancel()
			requireClass(t, batcher.Again, <-done)
			require.NoError(t, s.Commit(t.Context(), b), "the same batch again")
			require.Equal(t, 1, count(t, look, "run"))
		})
	}
}

func TestWritersLetGoOfTheLocksOfAPausedReplica(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	var wait, lockWait, autocommit int
	require.NoError(t, s.writers.QueryRowContext(t.Context(), "SELECT @@session.wait_timeout, @@session.innodb_lock_wait_timeout, @@session.autocommit").
		Scan(&wait, &lockWait, &autocommit))
	require.Equal(t, []int{60, 10, 0}, []int{wait, lockWait, autocommit})
	require.Less(t, writerIdle, time.Duration(wait)*time.Second, "or the server would close connections that the pool still hands out")
}
