package mysqlstore

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
)

// beginsElsewhere has an attempt begin that the daemon did not write, as a replay does, and what the store believes be of long ago.
func beginsElsewhere(t *testing.T, s *Store, look *sql.DB) {
	t.Helper()
	exec(t, look, "INSERT INTO persistd_runs (run_id, attempt, updated_at) VALUES ('a', 2, UTC_TIMESTAMP(6))")
	s.runs.mu.Lock()
	defer s.runs.mu.Unlock()
	for no := range s.runs.asked {
		s.runs.asked[no] = time.Now().Add(-time.Hour)
	}
}

func TestI5AStaleWriteThatWasRefusedWithOthersIsRefusedAlone(t *testing.T) {
	t.Parallel()
	s, terms, look := jointly(t)
	require.NoError(t, s.CommitAll(t.Context(), three(terms)))
	for i, b := range three(terms) {
		terms[i] = partition.Term{Partition: b.Partition, Epoch: b.Epoch, Position: b.Last()}
	}
	beginsElsewhere(t, s, look)
	all := []*batcher.Batch{batch(terms[0], save(7, "a", 3, `"stale"`)), batch(terms[1], save(8, "b", 2, `1`))}
	err := s.CommitAll(t.Context(), all)
	requireClass(t, batcher.Refused, err)
	require.Contains(t, Classify(err).Refused, uint64(7))
	requireClass(t, batcher.Refused, s.Commit(t.Context(), all[0]))
	require.NoError(t, s.Commit(t.Context(), all[1]))
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps WHERE run_id='a' AND step=3"))
}

func TestI5AStaleWriteIsRefusedAlsoWhenTheCommitBeforeFailed(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	dsn, faults := faulty(t, dsn)
	s := open(t, dsn)
	require.NoError(t, s.Register(t.Context(), testLog))
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "a", 1, `1`))
	beginsElsewhere(t, s, look)
	b := batch(term, save(7, "a", 3, `"stale"`))
	faults.next("SELECT run_id, attempt", before)
	requireClass(t, batcher.Again, s.Commit(t.Context(), b))
	requireClass(t, batcher.Refused, s.Commit(t.Context(), b))
}
