package mysqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What LangGraph-Go's MySQLStore makes of an empty database (v0.3.0-alpha), as its documentation has it.
var langGraphTables = []string{
	`CREATE TABLE IF NOT EXISTS workflow_steps (
		id BIGINT AUTO_INCREMENT PRIMARY KEY, run_id VARCHAR(255) NOT NULL, step INT NOT NULL, node_id VARCHAR(255) NOT NULL,
		state JSON NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
		INDEX idx_run_id (run_id), INDEX idx_run_step (run_id, step), UNIQUE KEY unique_run_step (run_id, step)
	) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`,
	`CREATE TABLE IF NOT EXISTS workflow_checkpoints (
		id BIGINT AUTO_INCREMENT PRIMARY KEY, checkpoint_id VARCHAR(255) NOT NULL UNIQUE, state JSON NOT NULL, step INT NOT NULL,
		created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
	) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`,
	`CREATE TABLE IF NOT EXISTS workflow_checkpoints_v2 (
		id BIGINT AUTO_INCREMENT PRIMARY KEY, run_id VARCHAR(255) NOT NULL, step_id INT NOT NULL, state JSON NOT NULL,
		frontier JSON NOT NULL, rng_seed BIGINT NOT NULL, recorded_ios JSON NOT NULL, idempotency_key VARCHAR(255) NOT NULL UNIQUE,
		timestamp TIMESTAMP NOT NULL, label VARCHAR(255) DEFAULT '', created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
		INDEX idx_run_id (run_id), INDEX idx_run_step (run_id, step_id), INDEX idx_label (run_id, label),
		UNIQUE KEY unique_run_step (run_id, step_id)
	) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`,
	`CREATE TABLE IF NOT EXISTS idempotency_keys (
		key_value VARCHAR(255) NOT NULL PRIMARY KEY, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, INDEX idx_created (created_at)
	) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`,
	`CREATE TABLE IF NOT EXISTS events_outbox (
		id VARCHAR(255) NOT NULL PRIMARY KEY, run_id VARCHAR(255) NOT NULL, event_data JSON NOT NULL, emitted_at TIMESTAMP NULL,
		created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, INDEX idx_pending (emitted_at, created_at), INDEX idx_run_id (run_id)
	) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`,
}

// langGraph is a process that uses LangGraph-Go's MySQLStore on db: its statements.
type langGraph struct{ db *sql.DB }

func (l langGraph) createTables(t testing.TB) {
	t.Helper()
	for _, q := range langGraphTables {
		exec(t, l.db, q)
	}
}

func (l langGraph) saveStep(t testing.TB, run string, step int, node, state string) {
	t.Helper()
	exec(t, l.db, "INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES (?, ?, ?, ?)"+
		" ON DUPLICATE KEY UPDATE node_id = VALUES(node_id), state = VALUES(state)", run, step, node, []byte(state))
}

func (l langGraph) loadLatest(t testing.TB, run string) (step int, state string) {
	t.Helper()
	require.NoError(t, l.db.QueryRowContext(t.Context(), "SELECT step, state FROM workflow_steps WHERE run_id = ? ORDER BY step DESC LIMIT 1", run).
		Scan(&step, &state))
	return step, state
}

func (l langGraph) saveCheckpoint(t testing.TB, id, state string, step int) {
	t.Helper()
	exec(t, l.db, "INSERT INTO workflow_checkpoints (checkpoint_id, state, step) VALUES (?, ?, ?)"+
		" ON DUPLICATE KEY UPDATE state = VALUES(state), step = VALUES(step), updated_at = CURRENT_TIMESTAMP", id, []byte(state), step)
}

func (l langGraph) loadCheckpoint(t testing.TB, id string) (step int, state string) {
	t.Helper()
	require.NoError(t, l.db.QueryRowContext(t.Context(), "SELECT state, step FROM workflow_checkpoints WHERE checkpoint_id = ?", id).
		Scan(&state, &step))
	return step, state
}

// saveCheckpointV2 returns the error of its transaction, which is rolled back then.
func (l langGraph) saveCheckpointV2(t testing.TB, run string, step int, key, state string) error {
	t.Helper()
	tx, err := l.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO idempotency_keys (key_value) VALUES (?)", key); err != nil {
		return err
	}
	_, err = tx.ExecContext(t.Context(), "INSERT INTO workflow_checkpoints_v2"+
		" (run_id, step_id, state, frontier, rng_seed, recorded_ios, idempotency_key, timestamp, label) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"+
		" ON DUPLICATE KEY UPDATE state = VALUES(state), frontier = VALUES(frontier), rng_seed = VALUES(rng_seed),"+
		" recorded_ios = VALUES(recorded_ios), idempotency_key = VALUES(idempotency_key), timestamp = VALUES(timestamp), label = VALUES(label)",
		run, step, []byte(state), []byte("[]"), 42, []byte("[]"), key, time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC), "label")
	if err != nil {
		return err
	}
	return tx.Commit()
}

func (l langGraph) loadCheckpointV2(t testing.TB, run string, step int) (state, key string, at time.Time) {
	t.Helper()
	var (
		frontier, ios, label string
		seed, id             int64
	)
	require.NoError(t, l.db.QueryRowContext(t.Context(), "SELECT run_id, step_id, state, frontier, rng_seed, recorded_ios, idempotency_key, timestamp, label"+
		" FROM workflow_checkpoints_v2 WHERE run_id = ? AND step_id = ? LIMIT 1", run, step).
		Scan(&run, &id, &state, &frontier, &seed, &ios, &key, &at, &label))
	return state, key, at
}

func (l langGraph) pendingEvents(t testing.TB, limit int) []string {
	t.Helper()
	return readAll(t, l.db, fmt.Sprintf("SELECT id, run_id, event_data FROM events_outbox WHERE emitted_at IS NULL ORDER BY created_at ASC LIMIT %d", limit))
}

func (l langGraph) markEventsEmitted(t testing.TB, id string) {
	t.Helper()
	exec(t, l.db, "UPDATE events_outbox SET emitted_at = NOW() WHERE id IN (?)", id)
}

func exec(t testing.TB, db *sql.DB, q string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(context.WithoutCancel(t.Context()), q, args...)
	require.NoError(t, err, q)
}
