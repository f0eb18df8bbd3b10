package mysqlstore

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// previous brings the database to the schema of the version before: migrations 1 to 6, as they were, of an empty database or one of
// LangGraph-Go.
func previous(t testing.TB, dsn string) {
	t.Helper()
	look := plain(t, dsn)
	var old bool
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT COUNT(*)>0 FROM information_schema.tables WHERE table_schema=DATABASE()").Scan(&old))
	p, err := open(t, dsn).schema().provider(look)
	require.NoError(t, err)
	_, err = p.UpTo(t.Context(), 4)
	require.NoError(t, err)
	if old {
		const id = " VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
		const at = " TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6)"
		const log = ", ADD COLUMN log_seq BIGINT UNSIGNED NOT NULL DEFAULT 0, ADD COLUMN log_gen INT UNSIGNED NOT NULL DEFAULT 0"
		exec(t, look, "ALTER TABLE workflow_steps MODIFY COLUMN run_id"+id+", MODIFY COLUMN node_id"+id+", MODIFY COLUMN created_at"+at+log+
			", DROP INDEX idx_run_id, DROP INDEX idx_run_step")
		exec(t, look, "ALTER TABLE workflow_checkpoints MODIFY COLUMN checkpoint_id"+id+", MODIFY COLUMN created_at"+at+
			", MODIFY COLUMN updated_at"+at+" ON UPDATE CURRENT_TIMESTAMP(6)"+log)
	}
	exec(t, look, "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (5, TRUE), (6, TRUE)")
}

// columnOrder are a table's columns in order.
func columnOrder(t testing.TB, db *sql.DB, table string) (all string) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(column_name ORDER BY ordinal_position) FROM information_schema.columns"+
		" WHERE table_schema=DATABASE() AND table_name=?", table).Scan(&all))
	return all
}

func TestEveryWayToThePresentSchemaEndsAtTheSame(t *testing.T) {
	t.Parallel()
	_, _, fresh := ready(t)
	for _, tt := range []struct {
		name      string
		langGraph int // how many of its tables there are
		previous  bool
	}{
		{"a database of LangGraph-Go", 5, false},
		{"one that lacks its newer tables", 2, false},
		{"one of the version before", 0, true},
		{"one that the version before took over", 5, true},
		{"one that the version before took over, without the newer tables", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dsn := stacktest.Database(t)
			look := plain(t, dsn)
			for _, q := range langGraphTables[:tt.langGraph] {
				exec(t, look, q)
			}
			if tt.previous {
				previous(t, dsn)
			}
			s := open(t, dsn)
			require.ErrorIs(t, s.CheckSchema(t.Context()), ErrSchemaPending)
			require.NoError(t, s.Migrate(t.Context()))
			require.NoError(t, s.CheckSchema(t.Context()))
			for _, table := range allTables {
				require.Equal(t, shape(t, fresh, table), shape(t, look, table))
				require.Equal(t, columnOrder(t, fresh, table), columnOrder(t, look, table))
			}
		})
	}
}

func TestRowsOfTheVersionBeforeAreKeptAndNotGivenAMomentThatIsNotTheirs(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	previous(t, dsn)
	exec(t, look, "INSERT INTO workflow_steps (run_id, step, node_id, state, created_at, log_seq, log_gen) VALUES ('run', 1, 'n', '1', '2020-01-01', 7, 1)")
	for range 2 {
		fills, changes, err := stepsTable.changes(t.Context(), look)
		require.NoError(t, err)
		require.Empty(t, fills)
		require.NotEmpty(t, changes)
		exec(t, look, "ALTER TABLE workflow_steps "+strings.Join(changes, ", ")+", ALGORITHM=INSTANT") // it touches no row
	}
	require.NoError(t, open(t, dsn).Migrate(t.Context()))
	row := readRow(t, look, "run", 1)
	require.Equal(t, stepRow{node: "n", state: "1", created: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), seq: 7, gen: 1}, row)
	var (
		attempt int
		updated sql.NullTime
	)
	read := func() {
		require.NoError(t, look.QueryRowContext(t.Context(), "SELECT attempt, updated_at FROM workflow_steps").Scan(&attempt, &updated))
	}
	read()
	require.Zero(t, attempt)
	require.False(t, updated.Valid, "when it was last saved is not known")
	langGraph{look}.saveStep(t, "run", 1, "n", "2")
	read()
	require.WithinDuration(t, time.Now(), updated.Time, time.Minute)
}

func TestATakenOverOutboxIsInTheOrderInWhichItWasWritten(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	langGraph{look}.createTables(t)
	exec(t, look, "INSERT INTO events_outbox (id, run_id, event_data, created_at, emitted_at) VALUES"+
		" ('a', 'run', '{}', '2020-01-03', NULL), ('b', 'run', '{}', '2020-01-01', NULL), ('c', 'run', '{}', '2020-01-02', '2020-01-02')")
	require.NoError(t, open(t, dsn).Migrate(t.Context()))
	exec(t, look, "INSERT INTO events_outbox (id, run_id, event_data) VALUES ('0', 'run', '{}')")
	var order string
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(id ORDER BY ord) FROM events_outbox").Scan(&order))
	require.Equal(t, "b,c,a,0", order)
}

func TestAnOutboxThatIsWrittenToWhileItIsTakenOverIsFilledAgain(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	look := plain(t, dsn)
	langGraph{look}.createTables(t)
	exec(t, look, "INSERT INTO events_outbox (id, run_id, event_data) VALUES ('z', 'run', '{}')")
	overtaken := outboxTable
	overtaken.columns = slices.Clone(outboxTable.columns)
	for i := range overtaken.columns {
		if c := &overtaken.columns[i]; c.fill != "" { // all are filled, and then, or so it looks, comes another
			c.fill = "INSERT INTO events_outbox (id, run_id, event_data, ord) VALUES ('a', 'run', '{}', NULL), ('z', 'run', '{}', NULL)" +
				" ON DUPLICATE KEY UPDATE ord=IF(id='z', 1, 2)"
		}
	}
	require.NoError(t, overtaken.takeOver(t.Context(), look))
	var order string
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT GROUP_CONCAT(id, ord ORDER BY ord) FROM events_outbox").Scan(&order))
	require.Equal(t, "z1,a2", order)
}
