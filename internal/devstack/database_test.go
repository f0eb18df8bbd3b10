package devstack_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// open returns a pool on dsn that is closed when t ends.
func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// query returns the one value that the statement selects.
func query(t *testing.T, dsn, statement string, args ...any) string {
	t.Helper()
	var value string
	require.NoError(t, open(t, dsn).QueryRowContext(t.Context(), statement, args...).Scan(&value))
	return value
}

func execute(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	db := open(t, dsn)
	for _, s := range statements {
		_, err := db.ExecContext(t.Context(), s)
		require.NoError(t, err, s)
	}
}

func TestRestartKeepsAddressAndCommittedRows(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, *devstack.Database){
		"after SIGKILL": func(_ *testing.T, db *devstack.Database) { db.Kill() },
		"after SIGKILL, its pid now another process's": func(t *testing.T, db *devstack.Database) {
			db.Kill()
			pid := fmt.Appendf(nil, "%d\n", os.Getppid()) // the server would forgive its own parent's
			for _, name := range []string{"server.sock.lock", "server.pid"} {
				require.NoError(t, os.WriteFile(filepath.Join(db.Dir(), "data", name), pid, 0o600))
			}
		},
		"after a stop":      func(t *testing.T, db *devstack.Database) { require.NoError(t, db.Stop(t.Context())) },
		"while still alive": func(*testing.T, *devstack.Database) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, dsn := stacktest.OwnDatabase(t)
			execute(t, dsn, "CREATE TABLE kept (n INT PRIMARY KEY, doc JSON)", `INSERT INTO kept VALUES (1, '{"a":1}')`)
			addr, pid, done := db.Addr(), db.Pid(), db.Done()

			end(t, db)
			require.NoError(t, db.Restart(t.Context()))

			<-done
			require.NotEqual(t, pid, db.Pid())
			require.Equal(t, addr, db.Addr())
			require.Equal(t, dsn, db.DSN("persistd"))
			require.Equal(t, "1", query(t, dsn, "SELECT JSON_EXTRACT(doc, '$.a') FROM kept WHERE n = 1"))
		})
	}
}

func TestFolderIsReusedByALaterStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	options := devstack.DatabaseOptions{Engine: stacktest.Engine(t), Dir: dir, Relaxed: true}
	first, err := devstack.StartDatabase(t.Context(), options) // initialises: no template
	require.NoError(t, err)
	execute(t, first.DSN(""), "CREATE DATABASE kept")
	require.NoError(t, first.Stop(t.Context()))
	require.NoError(t, first.Stop(t.Context()), "a second stop is no error")

	second, err := devstack.StartDatabase(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(second.Kill)
	require.Equal(t, "kept", query(t, second.DSN("kept"), "SELECT DATABASE()"))
}

func TestFolderServesOneServerAtATime(t *testing.T) {
	t.Parallel()
	db, _ := stacktest.OwnDatabase(t)
	_, err := devstack.StartDatabase(t.Context(), devstack.DatabaseOptions{Engine: db.Engine(), Dir: db.Dir()})
	require.ErrorContains(t, err, "in use by another server (pid ")
}

func TestDatabaseIsPrivate(t *testing.T) {
	t.Parallel()
	db, dsn := stacktest.OwnDatabase(t)
	require.Equal(t, "127.0.0.1", query(t, dsn, "SELECT @@bind_address"))
	require.Equal(t, "0", query(t, dsn, "SELECT @@log_bin"))
	require.Equal(t, "2", query(t, dsn, "SELECT @@innodb_flush_log_at_trx_commit"), "relaxed")

	info, err := os.Stat(filepath.Join(db.Dir(), "password"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoFileExists(t, filepath.Join(db.Dir(), "init.sql"), "it holds the password")

	require.Equal(t, "0", query(t, dsn, "SELECT COUNT(*) FROM mysql.user WHERE User IN ('root', '') AND authentication_string = ''"),
		"accounts without a password")
	for _, user := range []string{"root", ""} {
		stranger := open(t, user+"@tcp("+db.Addr()+")/")
		require.ErrorContains(t, stranger.PingContext(t.Context()), "Access denied", "user %q without a password", user)
	}
}

func TestDurableUnlessRelaxed(t *testing.T) {
	t.Parallel()
	db, err := devstack.StartDatabase(t.Context(), devstack.DatabaseOptions{Engine: stacktest.Engine(t), Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(db.Kill)
	require.Equal(t, "1", query(t, db.DSN(""), "SELECT @@innodb_flush_log_at_trx_commit"))
}

func TestFailedStartReturnsTheServersLogAndLeavesNothing(t *testing.T) {
	t.Parallel()
	db, _ := stacktest.OwnDatabase(t)
	dir := db.Dir()
	require.NoError(t, db.Stop(t.Context()))
	require.NoError(t, os.Truncate(filepath.Join(dir, "data", "ibdata1"), 1000))

	err := db.Restart(t.Context())
	require.ErrorContains(t, err, "server ended")
	require.ErrorContains(t, err, "ibdata1")
	<-db.Done()
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	db, _ := stacktest.OwnDatabase(t)
	require.NoError(t, db.Stop(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, db.Restart(ctx), context.DeadlineExceeded)
	require.NoError(t, db.Restart(t.Context()), "and the next start finds the folder free")
}

func TestSharedDatabasesAreEmptyAndApart(t *testing.T) {
	t.Parallel()
	a, b := stacktest.Database(t), stacktest.Database(t)
	execute(t, a, "CREATE TABLE mine (n INT)")
	count := "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()"
	require.Equal(t, "1", query(t, a, count))
	require.Equal(t, "0", query(t, b, count))
}
