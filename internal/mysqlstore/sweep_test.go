package mysqlstore

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/retention"
	"github.com/persistd/persistd/internal/wire"
)

// guarded is an event that saves a V2 checkpoint under a key.
func guarded(seq uint64, run string, step int32, key string) wire.Event {
	ev := save(seq, run, step, `{}`)
	ev.Ops = []wire.Op{{
		Type: wire.OpCheckpointV2, Step: step, State: []byte(`{}`),
		V2: &wire.V2{Frontier: []byte("null"), RecordedIOs: []byte("null"), Key: key, Timestamp: created},
	}}
	ev.Kind, ev.ContentHash = wire.KindRun, wire.HashContent(run, ev.Ops)
	return ev
}

func sweep(t *testing.T, s *Store, table retention.Table, age time.Duration) (removed int64) {
	t.Helper()
	for after := ""; ; {
		n, next, err := s.Sweep(t.Context(), table, age, after)
		require.NoError(t, err)
		removed += n
		if next == "" {
			return removed
		}
		after = next
	}
}

func texts(t *testing.T, db *sql.DB, query string) (values []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		var v string
		require.NoError(t, rows.Scan(&v))
		values = append(values, v)
	}
	require.NoError(t, rows.Err())
	return values
}

func TestAKeyIsRemovedOnceItIsOldAndGuardsNothing(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term,
		guarded(1, "run", 1, "still guards"), guarded(2, "run", 2, "replaced"), guarded(3, "run", 2, "its replacement"),
		guarded(4, "gone", 1, "its checkpoint is gone"), guarded(5, "gone", 2, "young"))
	exec(t, look, "DELETE FROM workflow_checkpoints_v2 WHERE run_id = 'gone'")
	exec(t, look, "INSERT INTO idempotency_keys (key_value) VALUES ('of LangGraph-Go')")
	exec(t, look, "UPDATE idempotency_keys SET created_at = CURRENT_TIMESTAMP(6) - INTERVAL 2 HOUR")
	exec(t, look, "UPDATE idempotency_keys SET created_at = CURRENT_TIMESTAMP(6) WHERE key_value = 'young'")

	require.Zero(t, sweep(t, s, retention.Keys, 3*time.Hour))
	require.EqualValues(t, 2, sweep(t, s, retention.Keys, time.Hour))
	require.Equal(t, []string{"its replacement", "of LangGraph-Go", "still guards", "young"},
		texts(t, look, "SELECT key_value FROM idempotency_keys ORDER BY key_value"))
	require.Zero(t, sweep(t, s, retention.Keys, time.Hour), "again")
}

func TestAKeyThatIsUsedAnewWhileOldOnesAreRemovedStays(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, guarded(1, "run", 1, "old"), guarded(2, "run", 2, "saved anew"))
	exec(t, look, "UPDATE idempotency_keys SET created_at = CURRENT_TIMESTAMP(6) - INTERVAL 2 HOUR")
	commit(t, s, &term, eventOf(3, "run", deleteOp)) // a sweep has looked before
	anew := guarded(4, "run", 2, "saved anew")
	anew.Message.Logged = time.Now()
	commit(t, s, &term, anew)
	exec(t, look, "INSERT INTO idempotency_keys (key_value, run_id, created_at) VALUES ('old', 'run', CURRENT_TIMESTAMP(6) - INTERVAL 2 HOUR)")

	n, err := s.removeKeys(t.Context(), time.Hour, []any{"old", "saved anew"})
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	require.Equal(t, []string{"saved anew"}, texts(t, look, "SELECT key_value FROM idempotency_keys"))
}

func TestEventsAreRemovedOnceTheyWereEmittedLongAgo(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for id, emitted := range map[string]string{
		"old": "CURRENT_TIMESTAMP(6) - INTERVAL 2 HOUR", "young": "CURRENT_TIMESTAMP(6) - INTERVAL 10 MINUTE", "pending": "NULL",
	} {
		exec(t, look, "INSERT INTO events_outbox (id, run_id, event_data, emitted_at, created_at) VALUES ('"+id+"', 'run', '{}', "+emitted+", '2020-01-01')")
	}
	require.EqualValues(t, 1, sweep(t, s, retention.Events, time.Hour))
	require.Equal(t, []string{"pending", "young"}, texts(t, look, "SELECT id FROM events_outbox ORDER BY id"))
}

func TestAnyNumberOfRowsIsSweptPageByPage(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	const n = 2*sweepPage + 7
	for i := range n {
		key := fmt.Sprintf("key-%05d", i)
		exec(t, look, "INSERT INTO idempotency_keys (key_value, run_id, created_at) VALUES ('"+key+"', 'run', '2020-01-01')")
		exec(t, look, "INSERT INTO events_outbox (id, run_id, event_data, emitted_at) VALUES ('"+key+"', 'run', '{}', '2020-01-01')")
	}
	require.EqualValues(t, n, sweep(t, s, retention.Keys, time.Hour))
	require.EqualValues(t, n, sweep(t, s, retention.Events, time.Hour))
}

func TestSweepingADatabaseThatIsAwaySaysSo(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	require.NoError(t, s.readers.Close())
	_, _, err := s.Sweep(t.Context(), retention.Keys, time.Hour, "")
	requireClass(t, batcher.Again, err)
	require.ErrorContains(t, err, "remove old idempotency keys")
}
