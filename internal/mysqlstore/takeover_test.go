package mysqlstore

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// allTables are those that hold what workers save.
var allTables = []string{
	"workflow_steps", "workflow_checkpoints", "workflow_checkpoints_v2", "idempotency_keys", "events_outbox", "persistd_runs",
}

// shape is what information_schema tells of a table: columns and keys, one a line.
func shape(t testing.TB, db *sql.DB, table string) string {
	t.Helper()
	var columns, keys string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(CONCAT_WS(' ', column_name, column_type, is_nullable, column_default, extra,"+
		" collation_name) ORDER BY column_name SEPARATOR '\n') FROM information_schema.columns WHERE table_schema=DATABASE() AND table_name=?", table).
		Scan(&columns))
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(CONCAT_WS(' ', index_name, non_unique, seq_in_index, column_name)"+
		" ORDER BY index_name, seq_in_index SEPARATOR '\n') FROM information_schema.statistics WHERE table_schema=DATABASE() AND table_name=?", table).
		Scan(&keys))
	return columns + "\n" + keys
}

func TestATableTakenOverIsLikeANewOne(t *testing.T) {
	t.Parallel()
	_, _, fresh := ready(t)
	for _, tt := range []struct {
		name  string
		after []string // what was done to the documented tables
	}{
		{"as documented", nil},
		{"redundant keys dropped by hand", []string{"ALTER TABLE workflow_steps DROP INDEX idx_run_id, DROP INDEX idx_run_step"}},
		{"one redundant key dropped by hand", []string{"ALTER TABLE workflow_steps DROP INDEX idx_run_id"}},
		{"the unique key under another name", []string{"ALTER TABLE workflow_steps RENAME INDEX unique_run_step TO `my key`"}},
		{"the unique key dropped", []string{"ALTER TABLE workflow_steps DROP INDEX unique_run_step"}},
		{"binary ids already", []string{"ALTER TABLE workflow_steps MODIFY run_id VARCHAR(255) COLLATE utf8mb4_bin NOT NULL"}},
		{"shorter ids", []string{"ALTER TABLE workflow_steps MODIFY run_id VARCHAR(100) NOT NULL"}},
		{"milliseconds", []string{"ALTER TABLE workflow_steps MODIFY created_at TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3)"}},
		{"half of ours", []string{"ALTER TABLE workflow_steps ADD COLUMN log_seq BIGINT UNSIGNED NOT NULL DEFAULT 0"}},
		{"no transactions", []string{"ALTER TABLE workflow_steps MODIFY run_id VARCHAR(200) NOT NULL, ENGINE=MyISAM"}},
		{"updated by the server", []string{"ALTER TABLE workflow_steps ADD COLUMN updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"}},
		{"labels that must be", []string{"ALTER TABLE workflow_checkpoints_v2 MODIFY label VARCHAR(100) NOT NULL"}},
		{"keys under other names", []string{
			"ALTER TABLE workflow_checkpoints_v2 RENAME INDEX idempotency_key TO once, RENAME INDEX unique_run_step TO one_of_each",
			"ALTER TABLE events_outbox RENAME INDEX idx_run_id TO idx_runs",
		}},
		{"keys without an index", []string{"ALTER TABLE idempotency_keys DROP INDEX idx_created"}},
		{"no primary key", []string{"ALTER TABLE idempotency_keys DROP PRIMARY KEY"}},
		{"an outbox in order already", []string{"ALTER TABLE events_outbox ADD COLUMN ord BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, ADD UNIQUE KEY unique_ord (ord)"}},
		{"an outbox half taken over", []string{"ALTER TABLE events_outbox ADD COLUMN ord BIGINT UNSIGNED NULL, ADD UNIQUE KEY unique_ord (ord)"}},
		{"latin1", []string{"ALTER TABLE workflow_steps MODIFY node_id VARCHAR(255) CHARACTER SET latin1 NOT NULL"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dsn := stacktest.Database(t)
			look := plain(t, dsn)
			old := langGraph{look}
			old.createTables(t)
			for _, q := range tt.after {
				exec(t, look, q)
			}
			old.saveStep(t, "run", 1, "é", `{}`)
			s := open(t, dsn)
			require.NoError(t, s.Migrate(t.Context()))
			for _, table := range allTables {
				require.Equal(t, shape(t, fresh, table), shape(t, look, table))
				var engine string
				require.NoError(t, look.QueryRowContext(t.Context(), "SELECT engine FROM information_schema.tables WHERE table_schema=DATABASE()"+
					" AND table_name=?", table).Scan(&engine))
				require.Equal(t, "InnoDB", engine)
			}
			require.Equal(t, "é", readRow(t, look, "run", 1).node)
		})
	}
}

func TestADatabaseOfLangGraphGoIsTakenOverWithoutLosingARow(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	old := langGraph{look}
	old.createTables(t)
	for i := range 50 {
		old.saveStep(t, fmt.Sprint("run", i%5), i, "node", fmt.Sprintf(`{"i": %d, "s": "é😀\\\""}`, i))
		old.saveCheckpoint(t, fmt.Sprint("checkpoint", i), `{"c": 1}`, i)
	}
	exec(t, look, "ALTER TABLE workflow_steps ADD COLUMN tenant VARCHAR(20) DEFAULT 'mine', ADD INDEX idx_tenant (tenant)") // the user's own
	exec(t, look, "UPDATE workflow_steps SET created_at='2020-02-02 02:02:02'")
	sums := func() (all [2]string) {
		for i, q := range []string{
			"SELECT CONCAT_WS('|', COUNT(*), SUM(CRC32(CONCAT_WS(',', id, BINARY run_id, step, BINARY node_id, state, UNIX_TIMESTAMP(created_at) DIV 1, tenant)))) FROM workflow_steps",
			"SELECT CONCAT_WS('|', COUNT(*), SUM(CRC32(CONCAT_WS(',', id, BINARY checkpoint_id, state, step, UNIX_TIMESTAMP(updated_at) DIV 1)))) FROM workflow_checkpoints",
		} {
			require.NoError(t, look.QueryRowContext(t.Context(), q).Scan(&all[i]))
		}
		return all
	}
	was := sums()
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, was, sums())
	require.Contains(t, shape(t, look, "workflow_steps"), "idx_tenant 1 1 tenant", "what is the user's own stays")

	t.Run("its readers and writers go on", func(t *testing.T) { //nolint:paralleltest // goes on with the database.
		old.createTables(t) // as each of its processes does at start
		step, state := old.loadLatest(t, "run4")
		require.Equal(t, 49, step)
		require.JSONEq(t, `{"i": 49, "s": "é😀\\\""}`, state)
		step, _ = old.loadCheckpoint(t, "checkpoint7")
		require.Equal(t, 7, step)
		old.saveCheckpoint(t, "checkpoint7", `{"c": 2}`, 8)
		step, state = old.loadCheckpoint(t, "checkpoint7")
		require.Equal(t, 8, step)
		require.JSONEq(t, `{"c": 2}`, state)
	})
	t.Run("persistd and an old process write to the same rows", func(t *testing.T) { //nolint:paralleltest // goes on with the database.
		require.NoError(t, s.Register(t.Context(), testLog))
		term := acquire(t, s, 0)
		commit(t, s, &term, save(1, "run4", 49, `"ours"`))
		_, state := old.loadLatest(t, "run4")
		require.Equal(t, `"ours"`, state)
		old.saveStep(t, "run4", 49, "theirs", `"theirs"`)
		row := readRow(t, look, "run4", 49)
		require.Equal(t, `"theirs"`, row.state)
		require.EqualValues(t, 1, row.seq, "its upsert leaves the sequence")
		commit(t, s, &term, save(2, "run4", 49, `"ours again"`))
		require.Equal(t, `"ours again"`, readRow(t, look, "run4", 49).state)
		old.saveStep(t, "run4", 50, "theirs", `"new"`)
		latest, _, _, err := s.Latest(t.Context(), 0, "run4")
		require.NoError(t, err)
		require.EqualValues(t, 50, latest.Step)
		require.WithinDuration(t, time.Now(), latest.SavedAt, time.Minute)
	})
	t.Run("ids that differ in case are different runs now", func(t *testing.T) { //nolint:paralleltest // goes on with the database.
		old.saveStep(t, "RUN4", 1, "n", `"upper"`)
		step, _ := old.loadLatest(t, "run4")
		require.Equal(t, 50, step)
	})
}

func TestLangGraphGosStatementsGoOnWorkingOnEveryTable(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	old := langGraph{look}
	old.createTables(t)
	require.NoError(t, old.saveCheckpointV2(t, "run", 1, "k", `{"n": 1}`))
	exec(t, look, "INSERT INTO events_outbox (id, run_id, event_data) VALUES ('e1', 'run', '{}')")
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	old.createTables(t)

	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	state, key, saved := old.loadCheckpointV2(t, "run", 1)
	require.JSONEq(t, `{"n": 1}`, state)
	require.Equal(t, "k", key)
	require.Equal(t, at, saved, "in UTC as before")
	require.NoError(t, old.saveCheckpointV2(t, "run", 1, "k2", `{"n": 2}`))
	require.ErrorContains(t, old.saveCheckpointV2(t, "run", 2, "k2", "1"), "Duplicate entry")
	require.NoError(t, old.saveCheckpointV2(t, "Run", 1, "K", "1"), "which were the same to it")

	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(1, "run", v2Op(1, "k3", `{"n": 3}`), outboxOp("e2", "{}")))
	state, key, _ = old.loadCheckpointV2(t, "run", 1)
	require.JSONEq(t, `{"n": 3}`, state)
	require.Equal(t, "k3", key)
	require.Equal(t, 1, one[int](t, look, "SELECT COUNT(*) FROM idempotency_keys WHERE key_value = ?", "k3"), "CheckIdempotency")
	require.NoError(t, old.saveCheckpointV2(t, "run", 1, "k4", `{"n": 4}`))
	require.Equal(t, "1.1", one[string](t, look, "SELECT CONCAT(log_seq, '.', log_gen) FROM workflow_checkpoints_v2 WHERE run_id='run'"), "it leaves the place")

	require.Len(t, old.pendingEvents(t, 10), 2)
	old.markEventsEmitted(t, "e1")
	require.Equal(t, []string{`id="e2" run_id="run" event_data="{}"`}, old.pendingEvents(t, 10))
}

func TestATakeoverThatDiedBetweenItsChangeAndItsRecordGoesOn(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	old := langGraph{look}
	old.createTables(t)
	old.saveStep(t, "run", 1, "n", `1`)
	require.NoError(t, stepsTable.takeOver(t.Context(), look))
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.CheckSchema(t.Context()))
	require.Equal(t, 1, count(t, look, "run"))

	exec(t, look, "DELETE FROM "+versionTable+" WHERE version_id>0") // all of them again, on what is there
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.CheckSchema(t.Context()))
	require.Equal(t, 1, count(t, look, "run"))
}

func TestATakeoverThatWouldMergeTwoRunsChangesNothing(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	old := langGraph{look}
	old.createTables(t)
	noPad := "utf8mb4_unicode_nopad_ci" // tells trailing spaces apart, which the binary collation of both engines does not
	if stacktest.Engine(t) == devstack.MySQL {
		noPad = "utf8mb4_0900_ai_ci"
	}
	exec(t, look, "ALTER TABLE workflow_steps MODIFY run_id VARCHAR(255) COLLATE "+noPad+" NOT NULL")
	old.saveStep(t, "run", 1, "n", `1`)
	old.saveStep(t, "run ", 1, "n", `2`)
	was := shape(t, look, "workflow_steps")
	s := open(t, dsn)
	err := s.Migrate(t.Context())
	requireClass(t, batcher.Operator, err)
	require.ErrorContains(t, err, "are the same by (run_id,step), trailing spaces aside: nothing was changed")
	require.Equal(t, was, shape(t, look, "workflow_steps"))
	var n int
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM workflow_steps").Scan(&n))
	require.Equal(t, 2, n)

	exec(t, look, "UPDATE workflow_steps SET run_id='run_' WHERE state='2' OR CAST(state AS CHAR)='2'") // as the hint says
	require.NoError(t, s.Migrate(t.Context()))
}

func TestATakeoverRebuildsATableOnce(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	langGraph{look}.createTables(t)
	for _, table := range []table{stepsTable, checkpointsTable, checkpointsV2Table, keysTable} {
		fills, changes, err := table.changes(t.Context(), look)
		require.NoError(t, err)
		require.Empty(t, fills)
		require.NotEmpty(t, changes)
		exec(t, look, "ALTER TABLE "+table.name+" "+strings.Join(changes, ", "))
		fills, changes, err = table.changes(t.Context(), look)
		require.NoError(t, err)
		require.Empty(t, fills)
		for _, c := range changes { // what else there is to do touches no row
			exec(t, look, "ALTER TABLE "+table.name+" "+c+", ALGORITHM=INSTANT")
		}
		_, changes, err = table.changes(t.Context(), look)
		require.NoError(t, err)
		require.Empty(t, changes)
	}
}

func TestATakeoverOutlastsTheReadTimeoutOfTheDSN(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	langGraph{look}.createTables(t)
	reader, err := look.BeginTx(t.Context(), nil) // whom the ALTER TABLE has to wait for
	require.NoError(t, err)
	defer func() { _ = reader.Rollback() }()
	_, err = reader.ExecContext(t.Context(), "DO (SELECT COUNT(*) FROM workflow_steps)")
	require.NoError(t, err)
	s := open(t, dsn+"&readTimeout=500ms")
	done := make(chan error)
	go func() { done <- s.Migrate(t.Context()) }()
	require.Eventually(t, func() bool {
		var n int
		err := look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.processlist WHERE db=DATABASE()"+
			" AND state LIKE '%metadata lock%' AND time>=2").Scan(&n)
		return err == nil && n == 1
	}, time.Minute, 50*time.Millisecond)
	require.NoError(t, reader.Rollback())
	require.NoError(t, <-done)
}
