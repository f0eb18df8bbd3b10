// Package stacktest gives tests the real servers of package devstack.
//
// [Database] is an empty database of its own on a server that all tests of a process
// share; the others give a test a server of its own, which it may kill. The engine is
// what $PERSISTD_TEST_ENGINE names: mariadb, which it is when unset, or mysql.
//
// A package that uses any of them has a TestMain that calls [Main]. A server that is
// not installed fails the test with the command that installs it; nothing is skipped.
package stacktest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver of the DSNs
	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/devstack"
)

// EngineVariable is the environment variable that names the engine to test on.
const EngineVariable = "PERSISTD_TEST_ENGINE"

const (
	// startWait leaves room for an initialisation on a machine busy with other tests.
	startWait = 3 * time.Minute
	execWait  = 30 * time.Second
)

// shared is the server all tests of this process put their databases on.
var shared struct {
	once sync.Once
	db   *devstack.Database
	dir  string
	err  error
}

// maxStore is what streams may reserve, whatever the disk has: a test of a size must not depend on what is free that day.
const maxStore = 1 << 40

var databases atomic.Int64 // how many were made, to name them

// Main runs a package's tests, stops the shared server, and fails the run when a
// goroutine is left. It does not return. Options are goleak's.
func Main(m *testing.M, options ...goleak.Option) {
	code := m.Run()
	if err := stopShared(); err != nil {
		fmt.Fprintln(os.Stderr, "stacktest:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "stacktest:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Engine is the engine this run tests on.
func Engine(t testing.TB) devstack.Engine {
	t.Helper()
	e, err := devstack.ParseEngine(os.Getenv(EngineVariable))
	if err != nil {
		t.Fatalf("%s: %v", EngineVariable, err)
	}
	return e
}

// Database returns the DSN of an empty database of t's own, dropped when t ends. Its
// server is shared and must not be stopped or reconfigured.
func Database(t testing.TB) (dsn string) {
	t.Helper()
	engine := Engine(t)
	shared.once.Do(func() { startShared(engine) })
	if shared.err != nil {
		t.Fatalf("start shared database: %v", shared.err)
	}
	return emptyDatabase(t, shared.db)
}

// OwnDatabase returns a server of t's own, stopped when t ends, and the DSN of an
// empty database on it.
func OwnDatabase(t testing.TB) (server *devstack.Database, dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	db, err := devstack.StartDatabase(ctx, devstack.DatabaseOptions{
		Engine: Engine(t), Dir: t.TempDir(), Relaxed: true, Templates: templates(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Kill) // its data goes, too: no need to stop it cleanly
	mustExec(t, db.DSN(""), "CREATE DATABASE persistd")
	return db, db.DSN("persistd")
}

// Galera returns a cluster of three MariaDB servers of t's own, killed when t ends, and the DSN of an empty database on it, with all their
// addresses. Whatever engine the others test on, these are MariaDB's: a cluster is what it is called after.
func Galera(t testing.TB) (cluster *devstack.Galera, dsn string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	g, err := devstack.StartGalera(ctx, devstack.GaleraOptions{Dir: t.TempDir(), Relaxed: true, Templates: templates()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	mustExec(t, g.Node(0).DSN(""), "CREATE DATABASE persistd")
	return g, g.DSN("persistd")
}

// NATS returns an embedded nats-server of t's own, stopped when t ends.
func NATS(t testing.TB) *devstack.NATS {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	n, err := devstack.StartNATS(ctx, devstack.NATSOptions{Dir: t.TempDir(), MaxStore: maxStore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// NATSProcess returns a nats-server process of t's own, stopped when t ends. It
// fsyncs each publish, so that what it acknowledged is there after a Kill.
func NATSProcess(t testing.TB) *devstack.NATSProcess {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	n, err := devstack.StartNATSProcess(ctx, devstack.NATSOptions{Dir: t.TempDir(), SyncAlways: true, MaxStore: maxStore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Kill)
	return n
}

// NATSCluster returns three nats-server processes of t's own that keep streams together, killed when t ends. They answer requests of their
// state, and fsync as nats-server does by itself: what is acknowledged, two of them have.
func NATSCluster(t testing.TB) *devstack.NATSCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startWait)
	defer cancel()
	c, err := devstack.StartNATSCluster(ctx, devstack.NATSOptions{Dir: t.TempDir(), Monitor: true, MaxStore: maxStore})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Kill)
	return c
}

func startShared(engine devstack.Engine) {
	shared.dir, shared.err = os.MkdirTemp("", "persistd-test-")
	if shared.err != nil {
		return
	}
	// Not the ctx of the test that happens to come first: the others need it too.
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	shared.db, shared.err = devstack.StartDatabase(ctx, devstack.DatabaseOptions{
		Engine: engine, Dir: shared.dir, Relaxed: true, Templates: templates(),
	})
}

// stopShared kills the shared server, whose data nobody needs any more.
func stopShared() error {
	if shared.db != nil {
		shared.db.Kill()
	}
	if shared.dir == "" {
		return nil
	}
	return os.RemoveAll(shared.dir)
}

func emptyDatabase(t testing.TB, server *devstack.Database) (dsn string) {
	t.Helper()
	name := fmt.Sprintf("test_%d", databases.Add(1))
	mustExec(t, server.DSN(""), "CREATE DATABASE "+name)
	t.Cleanup(func() { mustExec(t, server.DSN(""), "DROP DATABASE "+name) })
	return server.DSN(name)
}

func mustExec(t testing.TB, dsn, statement string) {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	// Not t.Context(), which has ended when cleanups run.
	ctx, cancel := context.WithTimeout(context.Background(), execWait)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

// templates is where initialised data folders are kept from run to run.
func templates() string {
	root, err := devstack.RepoRoot()
	if err != nil {
		return "" // each server then initialises its own
	}
	return filepath.Join(root, ".cache", "devstack")
}
