package devstack

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// startWait bounds a start whose ctx has no deadline of its own. An initialisation
// takes 1 s (MariaDB) to 20 s (MySQL on a slow disk); recovery after a kill little.
const startWait = 2 * time.Minute

// DatabaseOptions says which database server to start, and where.
type DatabaseOptions struct {
	// Engine is the server; zero is MariaDB.
	Engine Engine
	// Dir is the server's folder, made if absent; required. A folder that has served
	// before is started with the data it has.
	Dir string
	// Port is the TCP port on 127.0.0.1; zero is a free one.
	Port int
	// Relaxed leaves the fsync at each commit out. Commits then survive a killed
	// server but not a power cut. Zero is the server's default, fsync at each commit.
	Relaxed bool
	// Templates is a folder that keeps initialised data folders, one per server
	// version, to be copied instead of made; zero initialises each new Dir itself.
	Templates string
	// OutliveParent lets the server run on when this process dies.
	OutliveParent bool

	galera *galeraNode // nil of a server that stands alone
}

// Database is a private MariaDB or MySQL server.
type Database struct {
	options  DatabaseOptions
	binary   string
	password string

	mu   sync.Mutex // guards proc and port; never held across a wait
	proc *process
	port int

	// life is held by whoever starts or stops the server, so that these never overlap.
	life chan struct{}
}

// StartDatabase starts a server and returns when it answers. ctx bounds that wait.
func StartDatabase(ctx context.Context, o DatabaseOptions) (*Database, error) {
	if o.Engine == "" {
		o.Engine = MariaDB
	}
	if o.Dir == "" {
		return nil, errors.New("start database: no folder given")
	}
	binary, err := o.Engine.find()
	if err != nil {
		return nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Engine, err)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Engine, err)
	}
	d := &Database{options: o, binary: binary, port: o.Port, life: make(chan struct{}, 1)}
	if err := d.start(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Restart starts the server again, on the same folder and port, and returns when it
// answers. One that still runs is stopped first.
func (d *Database) Restart(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	return d.start(ctx)
}

// Kill ends the server with SIGKILL, as a crash would, and returns when it is gone.
// A stopped one stays stopped.
func (d *Database) Kill() { d.process().kill() }

// Stop shuts the server down cleanly and returns when it is gone: at the latest when
// ctx ends, for then it is killed and Stop returns the reason. It is idempotent.
func (d *Database) Stop(ctx context.Context) error {
	p := d.process()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("stop %s: killed: %w", d.options.Engine, context.Cause(ctx))
	}
}

// DSN is a go-sql-driver data source name of root at the database dbname, which may
// be empty. Times are parsed, in UTC.
func (d *Database) DSN(dbname string) string {
	c := mysql.NewConfig()
	c.User, c.Passwd = "root", d.password
	c.Net, c.Addr = "tcp", d.Addr()
	c.DBName = dbname
	c.ParseTime = true
	return c.FormatDSN()
}

// Addr is the host and port the server listens on, the same over all restarts.
func (d *Database) Addr() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return localAddr(d.port)
}

// Dir is the server's folder.
func (d *Database) Dir() string { return d.options.Dir }

// Engine is the kind of server.
func (d *Database) Engine() Engine { return d.options.Engine }

// Pid is the process id of the server's latest run.
func (d *Database) Pid() int { return d.process().pid() }

// Done is closed when the server's latest run has ended, for whatever reason.
func (d *Database) Done() <-chan struct{} { return d.process().done }

func (d *Database) process() *process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.proc
}

// start runs the server on the folder; with a free port asked for, on another one as
// long as the chosen one turns out to be taken.
func (d *Database) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	select {
	case d.life <- struct{}{}:
		defer func() { <-d.life }()
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w", d.options.Engine, context.Cause(ctx))
	}
	if p := d.process(); p != nil && p.running() {
		return nil // another Restart was first
	}
	lock, err := lockFolder(ctx, d.options.Dir)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.options.Engine, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // the child has its own
	if err := ensureData(ctx, d.options.Engine, d.binary, d.options.Dir, d.options.Templates); err != nil {
		return err
	}
	if d.password == "" { // once: from then on DSN reads it unguarded
		if d.password, err = ensurePassword(d.options.Dir); err != nil {
			return err
		}
	}
	return d.startOnPort(ctx, lock)
}

func (d *Database) startOnPort(ctx context.Context, lock *os.File) error {
	return onPort(ctx, d.port, func(port int) error {
		p, err := d.run(ctx, lock, port)
		if err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.proc, d.port = p, port
		return nil
	})
}

// run starts the child once and waits until it answers; if it does not, nothing of
// it is left.
func (d *Database) run(ctx context.Context, lock *os.File, port int) (_ *process, err error) {
	engine, dir := d.options.Engine, d.options.Dir
	if err := removeStale(filepath.Join(dir, dataFolder)); err != nil {
		return nil, err
	}
	initFile := filepath.Join(dir, "init.sql")
	if err := os.WriteFile(initFile, []byte(engine.accountSQL(d.password)), 0o600); err != nil {
		return nil, fmt.Errorf("write init file: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(initFile)) }()
	log, offset, err := openLog(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	args, err := d.args(ctx, initFile, port)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(d.binary, args...) //nolint:noctx // ctx bounds its start, not its life
	if node := d.options.galera; node != nil {
		cmd.Env = node.environment()
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	p, err := startProcess(cmd, !d.options.OutliveParent)
	if err != nil {
		return nil, err
	}
	err = errors.Join(noteHolder(lock, p.pid()), d.awaitAnswer(ctx, p, port))
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("start %s: %w; its log:\n%s", engine, err, logTail(dir, offset))
	}
	return p, nil
}

// args are the arguments of a start.
func (d *Database) args(ctx context.Context, initFile string, port int) ([]string, error) {
	data, node := filepath.Join(d.options.Dir, dataFolder), d.options.galera
	if node != nil && !node.founds {
		initFile = "" // the cluster has the account, and the file would run before the node is in it
	}
	args := d.options.Engine.serveArgs(data, initFile, port, d.options.Relaxed)
	if node == nil {
		return args, nil
	}
	args = append(args, node.args()...)
	position, err := node.position(ctx, d.binary, data, args)
	return append(args, position...), err
}

// awaitAnswer returns when the server on port takes our password. A stranger on that
// port would not, and then the child says that the port is taken and ends.
func (d *Database) awaitAnswer(ctx context.Context, p *process, port int) error {
	c := mysql.NewConfig()
	c.User, c.Passwd = "root", d.password
	c.Net, c.Addr = "tcp", localAddr(port)
	c.Timeout, c.ReadTimeout = 2*time.Second, 2*time.Second // a stranger may accept and say nothing
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return fmt.Errorf("configure driver: %w", err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	for {
		last := db.PingContext(ctx)
		if node := d.options.galera; last == nil && node != nil {
			last = node.ready(ctx, db)
		}
		if last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("server ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("no answer (%w): %w", last, context.Cause(ctx))
		case <-time.After(15 * time.Millisecond):
		}
	}
}
