package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// documentedTables are what LangGraph-Go's MySQLStore makes, as its documentation has them.
var documentedTables = []string{`CREATE TABLE workflow_steps (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    run_id VARCHAR(255) NOT NULL,
    step INT NOT NULL,
    node_id VARCHAR(255) NOT NULL,
    state JSON NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    INDEX idx_run_id (run_id),
    INDEX idx_run_step (run_id, step),
    UNIQUE KEY unique_run_step (run_id, step)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`, `CREATE TABLE workflow_checkpoints (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    checkpoint_id VARCHAR(255) NOT NULL UNIQUE,
    state JSON NOT NULL,
    step INT NOT NULL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`}

// A database with rows of LangGraph-Go's own store is taken over: its runs go on, and what was written for the old store still works.
func TestTakeoverOfALangGraphGoDatabase(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	for _, q := range documentedTables {
		s.exec(q)
	}
	const oldWrite = "INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES (?, ?, ?, ?)" +
		" ON DUPLICATE KEY UPDATE node_id = VALUES(node_id), state = VALUES(state)"
	s.exec(oldWrite, "old-run", 0, "start", `{"n":0}`)
	s.exec(oldWrite, "old-run", 1, "fetch", `{"n":1}`)
	s.exec("INSERT INTO workflow_checkpoints (checkpoint_id, state, step) VALUES ('mark', '{\"c\":1}', 1)")
	type old struct {
		id      int64
		state   string
		created time.Time
	}
	read := func(run string, step int) (o old) {
		t.Helper()
		require.NoError(t, s.db.QueryRowContext(t.Context(), "SELECT id, state, created_at FROM workflow_steps WHERE run_id=? AND step=?", run, step).
			Scan(&o.id, &o.state, &o.created))
		return o
	}
	before := []old{read("old-run", 0), read("old-run", 1)}

	d := s.serveHere(hooks{})
	st := s.open(client.WithDurability(client.Committed))
	for step, row := range before {
		require.Equal(t, row, read("old-run", step), "as it was")
	}
	state, step, err := st.LoadLatest(t.Context(), "old-run")
	require.NoError(t, err)
	require.Equal(t, 1, step)
	require.JSONEq(t, `{"n":1}`, string(state))

	require.NoError(t, st.SaveStep(t.Context(), "old-run", 2, "next", json.RawMessage(`{"n":2}`)))
	require.NoError(t, st.SaveStep(t.Context(), "old-run", 1, "again", json.RawMessage(`{"n":11}`)), "also over an old row")
	require.NoError(t, st.SaveStep(t.Context(), "OLD-RUN", 1, "other", json.RawMessage(`{"n":-1}`)), "which the old collation took for the same run")
	require.JSONEq(t, `{"n":11}`, read("old-run", 1).state)
	require.JSONEq(t, `{"n":-1}`, read("OLD-RUN", 1).state)
	require.Equal(t, before[1].created, read("old-run", 1).created, "saved again, and as old as it was")
	require.Equal(t, before[1].id, read("old-run", 1).id)

	// The old store's reader, and its writer beside us.
	latest := func() (text string, step int) {
		t.Helper()
		require.NoError(t, s.db.QueryRowContext(t.Context(), "SELECT state, step FROM workflow_steps WHERE run_id = ? ORDER BY step DESC LIMIT 1", "old-run").Scan(&text, &step))
		return text, step
	}
	text, step := latest()
	require.Equal(t, 2, step)
	require.JSONEq(t, `{"n":2}`, text)
	s.exec(oldWrite, "old-run", 3, "direct", `{"n":3}`)
	text, step = latest()
	require.Equal(t, 3, step)
	require.JSONEq(t, `{"n":3}`, text)
	state, step, err = st.LoadLatest(t.Context(), "old-run")
	require.NoError(t, err)
	require.Equal(t, 3, step)
	require.JSONEq(t, `{"n":3}`, string(state))
	var mark string
	require.NoError(t, s.db.QueryRowContext(t.Context(), "SELECT state FROM workflow_checkpoints WHERE checkpoint_id = 'mark' AND step = 1").Scan(&mark))
	require.JSONEq(t, `{"c":1}`, mark)
	require.NoError(t, d.stop())
}
