package rig

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/bench/usage"
	"github.com/persistd/persistd/internal/devstack"
)

// The processes' names in what is told of their usage.
const (
	Client   = "client" // this process
	Daemon   = "daemon"
	NATS     = "nats-server"
	Database = "database"
)

// Options says what to open.
type Options struct {
	// Engine is the database server; zero is MariaDB.
	Engine devstack.Engine
	// SyncAlways has the nats-server fsync each publish before it acknowledges it.
	SyncAlways bool
	// Connections is how many commits the daemon has in flight at most, and how many connections a baseline is to use. Zero is 4, the daemon's default.
	Connections int
	// Binary is the persistd to serve; empty is this program itself.
	Binary string
	// Dir is where the rig's folder is made; required. Rigs in one Dir share what it takes to initialise a database, which stays there.
	Dir string
	// Settings are of the daemons, as environment variables (PERSISTD_BATCH_ROWS=500).
	Settings []string
}

// database is what the tables are kept in.
const database = "persistd"

// Rig is the servers. Its methods may be called concurrently, but for those that start and stop daemons.
type Rig struct {
	options Options
	dir     string
	nats    *devstack.NATSProcess
	server  *devstack.Database
	db      *sql.DB
	nc      *nats.Conn
	js      jetstream.JetStream
	daemon  *Child // the latest; nil before the first
}

// Open starts the servers, and has a daemon make the log and the tables. ctx bounds that; when there is an error, nothing is left.
func Open(ctx context.Context, o Options) (_ *Rig, err error) {
	if o.Connections == 0 {
		o.Connections = 4
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("find own binary: %w", err)
		}
	}
	r := &Rig{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if r.dir, err = os.MkdirTemp(o.Dir, "rig-"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if r.nats, err = devstack.StartNATSProcess(ctx, devstack.NATSOptions{Dir: filepath.Join(r.dir, "nats"), SyncAlways: o.SyncAlways}); err != nil {
		return nil, err //nolint:wrapcheck // it says what was started.
	}
	if r.server, err = devstack.StartDatabase(ctx, devstack.DatabaseOptions{Engine: o.Engine, Dir: filepath.Join(r.dir, "db"), Templates: filepath.Join(o.Dir, "templates")}); err != nil {
		return nil, err //nolint:wrapcheck // as above.
	}
	if err = r.CreateDatabase(ctx, database); err != nil {
		return nil, err
	}
	if r.db, err = r.OpenSQL(database); err != nil {
		return nil, err
	}
	if r.nc, err = nats.Connect(r.nats.URL()); err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if r.js, err = jetstream.New(r.nc, jetstream.WithPublishAsyncMaxPending(4000)); err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	d, err := r.StartDaemon(ctx)
	if err != nil {
		return nil, err
	}
	return r, d.Stop(ctx)
}

// Close stops everything and removes its folder. It is idempotent.
func (r *Rig) Close() error {
	var errs []error
	if r.daemon != nil {
		r.daemon.Kill()
	}
	if r.db != nil {
		errs = append(errs, r.db.Close())
	}
	if r.nc != nil {
		r.nc.Close()
	}
	if r.server != nil {
		r.server.Kill() // its data goes away
	}
	if r.nats != nil {
		r.nats.Kill()
	}
	if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

// URL is the nats-server's.
func (r *Rig) URL() string { return r.nats.URL() }

// DSN is the data source name of the database, as a user has it.
func (r *Rig) DSN() string { return r.server.DSN(database) }

// DB is for looking, and has the session settings of the daemon's connections. It has no bound of connections.
func (r *Rig) DB() *sql.DB { return r.db }

// Conn is a connection to the nats-server, of this process.
func (r *Rig) Conn() *nats.Conn { return r.nc }

// JetStream is on Conn.
func (r *Rig) JetStream() jetstream.JetStream { return r.js }

// Connections is how many commits are in flight at most.
func (r *Rig) Connections() int { return r.options.Connections }

// Dir is the rig's folder, for files that are to go away with it.
func (r *Rig) Dir() string { return r.dir }

// Processes are those of these names that are up now; of no name, all that are.
func (r *Rig) Processes(names ...string) []usage.Process {
	all := []usage.Process{{Name: Client, PID: os.Getpid()}, {Name: NATS, PID: r.nats.Pid()}, {Name: Database, PID: r.server.Pid()}}
	if r.daemon != nil && r.daemon.running() {
		all = append(all, usage.Process{Name: Daemon, PID: r.daemon.program.Pid()})
	}
	if len(names) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(p usage.Process) bool { return !slices.Contains(names, p.Name) })
}
