package demo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-sql-driver/mysql" // the verdict is read with plain SQL
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/devstack"
)

// Config says how large the demo is. All fields are required, but for Runs.
type Config struct {
	// Workers save runs concurrently, each with a connection of its own.
	Workers int
	// For is how long they do.
	For time.Duration
	// Think is the longest pause of a worker between two steps.
	Think time.Duration
	// Seed makes the workers' choices reproducible.
	Seed uint64
	// Engine is the database server to run.
	Engine devstack.Engine
	// Runs is what the workers save; nil makes it up.
	Runs Runs
	// Out is where progress and the verdict are printed.
	Out io.Writer
}

// ErrNotClean is returned when the verdict is that something was lost, doubled or altered, or that a read was wrong.
var ErrNotClean = errors.New("demo found steps lost, doubled or altered, or a wrong read")

// stage is the servers of one demo.
type stage struct {
	nats   *devstack.NATS
	db     *devstack.Database
	sql    *sql.DB
	conn   *nats.Conn
	js     jetstream.JetStream
	daemon *daemon
}

// Run runs the demo in a folder of its own, which it removes, with everything that it started stopped, whatever happens.
func Run(ctx context.Context, c Config) (err error) {
	dir, err := os.MkdirTemp("", "persistd-demo-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &screen{out: c.Out, begin: time.Now()}
	st, err := open(ctx, dir, c, s)
	defer func() { err = errors.Join(err, st.close()) }()
	if err != nil {
		return err
	}
	return st.play(ctx, c, s)
}

// open starts the servers. The stage it returns is to be closed also when there is an error.
func open(ctx context.Context, dir string, c Config, s *screen) (st *stage, err error) {
	st = &stage{}
	s.say("starting nats-server, %s and persistd, privately, under %s", c.Engine, dir)
	if st.nats, err = devstack.StartNATS(ctx, devstack.NATSOptions{Dir: filepath.Join(dir, "nats")}); err != nil {
		return st, err //nolint:wrapcheck // it says what was started.
	}
	if st.db, err = devstack.StartDatabase(ctx, devstack.DatabaseOptions{Engine: c.Engine, Dir: filepath.Join(dir, "db")}); err != nil {
		return st, err //nolint:wrapcheck // as above.
	}
	if st.sql, err = openSQL(st.db.DSN("")); err != nil {
		return st, err
	}
	if _, err = st.sql.ExecContext(ctx, "CREATE DATABASE persistd CHARACTER SET utf8mb4"); err != nil {
		return st, fmt.Errorf("create database: %w", err)
	}
	if err = st.sql.Close(); err != nil {
		return st, fmt.Errorf("close database: %w", err)
	}
	if st.sql, err = openSQL(st.db.DSN("persistd")); err != nil {
		return st, err
	}
	if st.conn, err = nats.Connect(st.nats.URL()); err != nil {
		return st, fmt.Errorf("connect to NATS: %w", err)
	}
	if st.js, err = jetstream.New(st.conn); err != nil {
		return st, fmt.Errorf("use JetStream: %w", err)
	}
	if st.daemon, err = newDaemon(dir, st.nats.URL(), st.db.DSN("persistd")); err != nil {
		return st, err
	}
	if err = st.daemon.start(); err != nil {
		return st, err
	}
	return st, st.up(ctx)
}

// openSQL is how the demo looks at the database. The driver does not log: that a killed database is away is no news.
func openSQL(dsn string) (*sql.DB, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	cfg.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// up waits until the daemon has made the log and the tables.
func (st *stage) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if _, err := st.js.Stream(ctx, "PERSISTD"); err == nil && committed(ctx, st.sql) >= 0 {
			return nil
		}
		if err := st.daemon.alive(ctx); err != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for daemon: %w\n%s", context.Cause(ctx), st.daemon.tail())
		}
	}
}

func (st *stage) close() error {
	var errs []error
	if st.daemon != nil {
		st.daemon.kill()
	}
	if st.sql != nil {
		errs = append(errs, st.sql.Close())
	}
	if st.conn != nil {
		st.conn.Close()
	}
	if st.db != nil {
		st.db.Kill()
	}
	if st.nats != nil {
		errs = append(errs, st.nats.Stop())
	}
	return errors.Join(errs...)
}

// play is the demo itself.
func (st *stage) play(ctx context.Context, c Config, s *screen) error {
	runs := c.Runs
	if runs == nil {
		runs = Synthetic
	}
	ledger := newLedger(c.Engine)
	f := &fleet{url: st.nats.URL(), workers: c.Workers, seed: c.Seed, think: c.Think, runs: runs, ledger: ledger}
	s.say("%d workers save agent-like runs for %s; the daemon and the database will be killed under them", c.Workers, c.For)

	watching, stopWatching := context.WithCancel(ctx)
	largest := make(chan int64, 1)
	go func() { largest <- s.watch(watching, st.sql, st.js, ledger) }()
	watched := sync.OnceValue(func() int64 { stopWatching(); return <-largest })
	defer watched() // nothing is printed once play returned

	working, stopWorking := context.WithTimeout(ctx, c.For)
	defer stopWorking()
	fleetDone := make(chan error, 1)
	go func() { fleetDone <- f.run(working) }()

	chaosErr := st.chaos(working, c.For, s)
	fleetErr := <-fleetDone
	if err := errors.Join(chaosErr, fleetErr, context.Cause(ctx)); err != nil {
		return err
	}
	s.say("workers are done; waiting until everything acknowledged is committed")
	if err := st.settle(ctx, ledger); err != nil {
		s.say("%v", err) // the verdict says what is missing
	}
	behind := watched()
	if err := st.daemon.stop(30 * time.Second); err != nil {
		return err
	}
	v, err := verify(ctx, st.sql, ledger)
	if err != nil {
		return err
	}
	report(c.Out, ledger, v, behind)
	if !v.Clean() || ledger.wrongReads.Load() > 0 {
		return ErrNotClean
	}
	return nil
}

// chaos kills the daemon in the middle and the database a little later, and starts each again.
func (st *stage) chaos(ctx context.Context, length time.Duration, s *screen) error {
	if !sleep(ctx, length*45/100) {
		return nil
	}
	st.daemon.kill()
	s.say("✗ SIGKILL persistd — workers go on, the log takes their steps")
	sleep(ctx, length/10)
	if err := st.daemon.start(); err != nil {
		return err
	}
	s.say("✓ persistd started again — it resumes at the position it finds in the database")
	if !sleep(ctx, length*15/100) {
		return nil
	}
	st.db.Kill()
	s.say("✗ SIGKILL %s — workers go on, persistd waits", st.db.Engine())
	sleep(ctx, length/10)
	// The restart must happen even when the workers' time is up: what they saved is to be committed.
	restart, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := st.db.Restart(restart); err != nil {
		return err //nolint:wrapcheck // it says what was started.
	}
	s.say("✓ %s started again", st.db.Engine())
	return nil
}

// settle waits until everything that was acknowledged is there. Rows of steps whose saving failed count too, so a sufficient number
// is only the moment from which looking is worth it.
func (st *stage) settle(ctx context.Context, l *Ledger) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if committed(ctx, st.sql) >= l.acknowledged.Load() {
			if v, err := verify(ctx, st.sql, l); err == nil && v.Lost == 0 {
				return nil
			}
		}
		if err := st.daemon.alive(ctx); err != nil {
			return err
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return errors.New("not everything was committed within a minute")
		}
	}
}

func report(out io.Writer, l *Ledger, v Verdict, behind int64) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	n := func(v int64) string { return humanize.Comma(v) }
	t.AppendRows([]table.Row{
		{"steps acknowledged to workers", n(l.acknowledged.Load())},
		{"bytes of state", humanize.IBytes(uint64(l.bytes.Load()))}, //nolint:gosec // G115: a count.
		{"steps that workers could not save", n(l.refused.Load())},
		{"rows in workflow_steps", n(v.Rows)},
		{"largest lag seen, steps", n(behind)},
	})
	t.AppendSeparator()
	t.AppendRows([]table.Row{
		{"acknowledged and lost", n(v.Lost)},
		{"altered", n(v.Altered)},
		{"doubled", n(v.Doubled)},
		{"never saved by anybody", n(v.Unknown)},
		{"there, though the worker was not told", n(v.Unacknowledged)},
		{"resumes checked (LoadLatest)", n(l.reads.Load())},
		{"of these wrong", n(l.wrongReads.Load())},
	})
	fmt.Fprintln(out, t.Render())
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
