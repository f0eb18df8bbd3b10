package client_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// mysqlStore is a store on dsn, closed when t ends.
func mysqlStore(t *testing.T, dsn string, opts ...client.Option) *client.MySQLStore[state] {
	t.Helper()
	st, err := client.NewMySQLStore[state](dsn, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func plainSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func execSQL(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(context.WithoutCancel(t.Context()), statement, args...)
	require.NoError(t, err, statement)
}

func v2Checkpoint(run string, step int, key string, n int) client.CheckpointV2[state] {
	return client.CheckpointV2[state]{RunID: run, StepID: step, State: state{N: n}, IdempotencyKey: key}
}

func TestAWriteToMySQLIsCommittedInWhateverDurability(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	st, look := mysqlStore(t, dsn, client.WithDurability(client.Async)), plainSQL(t, dsn)
	for i, d := range []client.Durability{client.Async, client.Logged, client.Committed} {
		require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), d), "run", i, "node", state{N: i}))
		var n int
		require.NoError(t, look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM workflow_steps").Scan(&n))
		require.Equal(t, i+1, n, d)
	}
	require.NoError(t, st.Flush(t.Context()))
	require.NoError(t, st.Ping(t.Context()))
}

func TestThePoolOfAMySQLStoreIsAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	require.Equal(t, 25, mysqlStore(t, dsn).Stats().MaxOpenConnections)
	require.Zero(t, mysqlStore(t, dsn, client.WithPool(client.Pool{MaxOpen: -1})).Stats().MaxOpenConnections)
	st := mysqlStore(t, dsn, client.WithPool(client.Pool{MaxOpen: 3, MaxIdle: 1}))
	require.Equal(t, 3, st.Stats().MaxOpenConnections)
	var g errgroup.Group
	for i := range 20 {
		g.Go(func() error { return st.SaveStep(t.Context(), fmt.Sprint("run", i), 1, "n", state{}) })
	}
	require.NoError(t, g.Wait())
	require.LessOrEqual(t, st.Stats().OpenConnections, 3)
	require.LessOrEqual(t, st.Stats().Idle, 1)
	require.NotZero(t, st.Stats().WaitCount)
}

func TestACallThatGetsNoConnectionSaysWhy(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	st, look := mysqlStore(t, dsn, client.WithPool(client.Pool{MaxOpen: 1})), plainSQL(t, dsn)
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "n", state{}))
	release := lockStep(t, look)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- st.SaveStep(ctx, "run", 1, "n", state{}) }()
	require.Eventually(t, func() bool { return st.Stats().InUse == 1 }, eventually, poll)
	short, stop := context.WithTimeout(t.Context(), soon)
	defer stop()
	err := st.SaveStep(short, "other", 1, "n", state{})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "WithPool")
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	release()
}

// lockStep locks the step 1 of run, until release is called.
func lockStep(t *testing.T, db *sql.DB) (release func()) {
	t.Helper()
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT 1 FROM workflow_steps WHERE run_id='run' AND step=1 FOR UPDATE")
	require.NoError(t, err)
	release = func() { _ = tx.Rollback() }
	t.Cleanup(release)
	return release
}

func TestWithoutMigrationAStoreSaysWhatToDo(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	_, err := client.NewMySQLStore[state](dsn, client.WithMigration(false))
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, "migrations pending")
	require.ErrorContains(t, err, "leave WithMigration on, or run persistd migrate")
	mysqlStore(t, dsn)
	require.NoError(t, mysqlStore(t, dsn, client.WithMigration(false)).Ping(t.Context()))
}

func TestMistakesInADSNAreNamedAndItsPasswordIsNot(t *testing.T) {
	t.Parallel()
	good, err := mysql.ParseDSN(stacktest.Database(t))
	require.NoError(t, err)
	with := func(change func(c *mysql.Config)) string {
		c := good.Clone()
		c.User, c.Passwd = "nobody", "hunter2"
		change(c)
		return c.FormatDSN()
	}
	for _, tt := range []struct {
		name, dsn string
		kind      error
		says      string
	}{
		{"empty", "", client.ErrInvalidOption, "dsn: "},
		{"no DSN", "mysql://nobody:hunter2@host/db", client.ErrInvalidOption, "dsn: is not of the form"},
		{"no @", "nobody:hunter2(127.0.0.1)/db", client.ErrInvalidOption, "dsn: is not of the form"},
		{"no database", with(func(c *mysql.Config) { c.DBName = "" }), client.ErrInvalidOption, "names no database"},
		{"an unknown TLS setting", with(func(*mysql.Config) {}) + "&tls=nowhere", client.ErrInvalidOption, "dsn: "},
		{"nobody there", with(func(c *mysql.Config) { c.Addr = "127.0.0.1:1" }), client.ErrUnavailable, "is the database running"},
		{"a wrong user", with(func(*mysql.Config) {}), client.ErrPermission, "check the user and the password"},
		{"another database", with(func(c *mysql.Config) { c.User, c.Passwd, c.DBName = good.User, good.Passwd, "missing" }), client.ErrUnavailable, "create the database"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := client.NewMySQLStore[state](tt.dsn)
			require.ErrorIs(t, err, tt.kind)
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), "hunter2")
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, "open store", e.Op)
		})
	}
	_, err = client.NewMySQLStore[state]("nobody:hunter2", client.WithMaxDepth(0))
	require.ErrorContains(t, err, "max depth")
	require.ErrorContains(t, err, "dsn: ")
}

func TestAUserWithoutTheRightsIsToldWhichOnes(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	admin := plainSQL(t, dsn)
	c, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	name := "c_" + c.DBName
	execSQL(t, admin, "CREATE USER "+name+"@'127.0.0.1' IDENTIFIED BY 'secret'")
	t.Cleanup(func() { execSQL(t, admin, "DROP USER "+name+"@'127.0.0.1'") })
	execSQL(t, admin, "GRANT SELECT ON "+c.DBName+".* TO "+name+"@'127.0.0.1'")
	c.User, c.Passwd = name, "secret"
	_, err = client.NewMySQLStore[state](c.FormatDSN())
	require.ErrorIs(t, err, client.ErrPermission)
	require.ErrorContains(t, err, "GRANT SELECT, INSERT, UPDATE")
	mysqlStore(t, dsn)
	st := mysqlStore(t, c.FormatDSN())
	err = st.SaveStep(t.Context(), "run", 1, "n", state{})
	require.ErrorIs(t, err, client.ErrPermission)
	require.ErrorContains(t, err, "docs/schema.md")
}

func TestATransactionInMySQLIsAllOrNothing(t *testing.T) {
	t.Parallel()
	st := mysqlStore(t, stacktest.Database(t))
	require.NoError(t, st.SaveStepBatch(t.Context(), "run", []client.Step[state]{{Step: 1}, {Step: 2, State: state{N: 2}}}))
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2Checkpoint("run", 1, "key", 1)))
	err := st.WithTransaction(t.Context(), func(tx client.Tx[state]) error {
		return errors.Join(tx.SaveStep("run", 3, "n", state{}), tx.SaveCheckpoint("named", state{}, 3), tx.SaveCheckpointV2(v2Checkpoint("run", 3, "key", 3)))
	})
	require.ErrorIs(t, err, client.ErrDuplicate)
	_, err = st.GetStep(t.Context(), "run", 3)
	require.ErrorIs(t, err, client.ErrNotFound)
	_, _, err = st.LoadCheckpoint(t.Context(), "named")
	require.ErrorIs(t, err, client.ErrNotFound)

	other := mysqlStore(t, stacktest.Database(t))
	large := client.Step[state]{State: state{Text: strings.Repeat("x", 6<<20)}}
	var steps []client.Step[state]
	for i := range 11 {
		large.Step = i
		steps = append(steps, large)
	}
	require.NoError(t, other.SaveStepBatch(t.Context(), "run", steps[:10]), "60 MiB")
	require.ErrorIs(t, other.SaveStepBatch(t.Context(), "run", steps), client.ErrTooLarge)
	got, err := other.GetStep(t.Context(), "run", 9)
	require.NoError(t, err)
	require.Len(t, got.State.Text, 6<<20)
}

func TestAnOlderAttemptIsRefusedByMySQL(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	old, next := mysqlStore(t, dsn), mysqlStore(t, dsn)
	n, err := old.BeginAttempt(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.NoError(t, old.SaveStep(t.Context(), "run", 5, "n", state{N: 1}))
	n, err = next.BeginAttempt(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.ErrorIs(t, old.SaveStep(t.Context(), "run", 6, "n", state{}), client.ErrStaleAttempt)
	got, step, err := next.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 5, step)
	require.Equal(t, 1, got.N)
	require.NoError(t, next.SaveStep(t.Context(), "run", 1, "n", state{N: 2}))
	got, step, err = old.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 1, step, "of the newest attempt")
	require.Equal(t, 2, got.N)
}

func TestADatabaseOfLangGraphGoServesAMySQLStoreAndItsOldOwners(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	old := plainSQL(t, dsn)
	for _, q := range []string{ // as that store makes them, but for what does not matter here
		"CREATE TABLE workflow_steps (id BIGINT AUTO_INCREMENT PRIMARY KEY, run_id VARCHAR(255) NOT NULL, step INT NOT NULL, node_id VARCHAR(255) NOT NULL," +
			" state JSON NOT NULL, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, INDEX idx_run_step (run_id, step), UNIQUE KEY unique_run_step (run_id, step))" +
			" DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci",
		"CREATE TABLE idempotency_keys (key_value VARCHAR(255) NOT NULL PRIMARY KEY, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, INDEX idx_created (created_at))",
		"CREATE TABLE events_outbox (id VARCHAR(255) NOT NULL PRIMARY KEY, run_id VARCHAR(255) NOT NULL, event_data JSON NOT NULL, emitted_at TIMESTAMP NULL," +
			" created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, INDEX idx_pending (emitted_at, created_at))",
	} {
		execSQL(t, old, q)
	}
	save := func(step, n int) {
		execSQL(t, old, "INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES ('run', ?, 'old', ?) ON DUPLICATE KEY UPDATE node_id=VALUES(node_id),"+
			" state=VALUES(state)", step, fmt.Appendf(nil, `{"n": %d}`, n))
	}
	save(1, 1)
	execSQL(t, old, "INSERT INTO idempotency_keys (key_value) VALUES ('theirs')")
	execSQL(t, old, `INSERT INTO events_outbox (id, run_id, event_data) VALUES ('event', 'run', '{"RunID": "run", "Step": 1, "NodeID": "old", "Msg": "m", "Meta": {"k": "v"}}')`)

	st := mysqlStore(t, dsn)
	got, step, err := st.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 1, step)
	require.Equal(t, 1, got.N)
	require.ErrorIs(t, st.SaveCheckpointV2(t.Context(), v2Checkpoint("run", 1, "theirs", 1)), client.ErrDuplicate, "by what content it was used nobody knows")
	events, err := st.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []client.Event{{RunID: "run", Step: 1, NodeID: "old", Msg: "m", Meta: map[string]any{"k": "v", "event_id": "event"}}}, events)

	require.NoError(t, st.SaveStep(t.Context(), "run", 2, "new", state{N: 2}))
	save(2, 3) // who comes later overwrites
	save(4, 4)
	var loaded []string
	for s, err := range st.Steps(t.Context(), "run", 0, 0) {
		require.NoError(t, err)
		loaded = append(loaded, fmt.Sprint(s.Step, s.NodeID, s.State.N))
	}
	require.Equal(t, []string{"1old1", "2old3", "4old4"}, loaded)
	var n int
	require.NoError(t, old.QueryRowContext(t.Context(), "SELECT step FROM workflow_steps WHERE run_id='run' ORDER BY step DESC LIMIT 1").Scan(&n))
	require.Equal(t, 4, n)
}
