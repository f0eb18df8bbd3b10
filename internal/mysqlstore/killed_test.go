package mysqlstore

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestI2AServerKilledBetweenCommitsAndAgainGoesOnWhereItsRowsAre(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	term := acquire(t, s, 0)
	const steps = 3 // in a batch
	next := func() *batcher.Batch {
		at := term.Position
		return batch(term, save(at+1, "run", int32(at), `1`), save(at+2, "run", int32(at+1), `1`), save(at+3, "run", int32(at+2), `1`))
	}
	for range 2 {
		committing := make(chan struct{})
		failed := make(chan error)
		go func() { // commits until the server is gone
			for n := 0; ; n++ {
				if n == 20 {
					close(committing)
				}
				b := next()
				if err := s.Commit(t.Context(), b); err != nil {
					failed <- err
					return
				}
				term.Position = b.Last()
			}
		}()
		<-committing
		server.Kill()
		requireClass(t, batcher.Again, <-failed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		require.NoError(t, server.Restart(ctx))
		cancel()

		at := position(t, s, 0)
		require.Contains(t, []uint64{term.Position, term.Position + steps}, at, "the last batch is in, or it is not")
		require.EqualValues(t, at, count(t, plain(t, dsn), "run"), "and its rows are as its position")
		require.NoError(t, s.Commit(t.Context(), next()), "the batch that failed, again")
		term.Position += steps
		require.EqualValues(t, term.Position, count(t, plain(t, dsn), "run"))
	}
}
