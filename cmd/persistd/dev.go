package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/devstack"
)

type devCmd struct {
	config.Flags `embed:""`
	Dir          string `default:".persistd" help:"Folder that keeps the data, made if absent."`
	NATSPort     int    `name:"nats-port" default:"4222" help:"Port of the embedded NATS server on 127.0.0.1; 0 takes a free one."`
	Engine       string `enum:"mariadb,mysql" default:"mariadb" help:"Database server to start when no data source name is given."`
}

// devDatabase is the database that dev and demo keep their tables in.
const devDatabase = "persistd"

// Run implements the command.
func (cmd *devCmd) Run(parent context.Context, env config.LookupEnv, std std) (err error) {
	cfg, err := cmd.Complete(env)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	first, second, stop := signals(parent)
	defer stop()

	broker, err := devstack.StartNATS(first, devstack.NATSOptions{Dir: filepath.Join(cmd.Dir, "nats"), Port: cmd.NATSPort, SyncAlways: true})
	if err != nil {
		return err //nolint:wrapcheck // it says what was started.
	}
	defer func() { err = errors.Join(err, broker.Stop()) }()
	cfg.NATS.URL = broker.URL()

	if cfg.MySQL.DSN == "" {
		db, dsn, startErr := startDevDatabase(first, devstack.Engine(cmd.Engine), filepath.Join(cmd.Dir, cmd.Engine))
		if startErr != nil {
			return startErr
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), 30*time.Second)
			defer cancel()
			err = errors.Join(err, db.Stop(ctx))
		}()
		var unwatch func() error
		first, second, unwatch = endWith(first, second, db)
		defer func() { err = errors.Join(err, unwatch()) }()
		cfg.MySQL.DSN = config.Secret(dsn)
	}
	if cfg.Log.Format == config.Default().Log.Format {
		cfg.Log.Format = "console"
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return serve(first, second, cfg, std, hooks{}, func(d *daemon) { greet(std, d, cfg) })
}

// errDatabaseEnded is why dev ends by itself: nobody else would start its database again.
var errDatabaseEnded = errors.New("private database ended by itself: see server.log in its folder, and start dev again; what was saved is in the log")

// endWith returns contexts that also end when db does: there is nothing to drain into then. unwatch returns [errDatabaseEnded] if it did.
func endWith(first, second context.Context, db *devstack.Database) (_, _ context.Context, unwatch func() error) {
	first, end := context.WithCancelCause(first)
	second, cut := context.WithCancelCause(second)
	died, watched := db.Done(), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-died:
			cut(errDatabaseEnded)
			end(errDatabaseEnded)
		case <-first.Done():
		}
	}()
	return first, second, func() error {
		end(nil)
		<-watched
		cut(nil)
		if errors.Is(context.Cause(first), errDatabaseEnded) {
			return errDatabaseEnded
		}
		return nil
	}
}

// startDevDatabase starts a private server in dir and makes the database.
func startDevDatabase(ctx context.Context, engine devstack.Engine, dir string) (*devstack.Database, string, error) {
	server, err := devstack.StartDatabase(ctx, devstack.DatabaseOptions{Engine: engine, Dir: dir})
	if err != nil {
		return nil, "", err //nolint:wrapcheck // it says what was started.
	}
	if err := createDatabase(ctx, server.DSN("")); err != nil {
		server.Kill()
		return nil, "", err
	}
	return server, server.DSN(devDatabase), nil
}

func createDatabase(ctx context.Context, dsn string) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return fmt.Errorf("open private database: %w", err)
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE IF NOT EXISTS "+devDatabase+" CHARACTER SET utf8mb4"); err != nil {
		return fmt.Errorf("create private database: %w", err)
	}
	return nil
}

// greet says where everything is and what to try.
func greet(std std, d *daemon, cfg config.Config) {
	fmt.Fprintf(std.out, `
persistd is running. Ctrl-C stops it; the data stays.

  NATS     %s
  MySQL    %s
  HTTP     http://%s/readyz?verbose  /metrics

Try:  nats -s %[1]s req persistd.write.default.run.run-001 '{"step":1,"node_id":"start","state":{"n":1}}'
      nats -s %[1]s req persistd.read.default.latest '{"run_id":"run-001"}'
      persistd status --nats-url %[1]s

`, cfg.NATS.URL, clientCommand(string(cfg.MySQL.DSN)), browsable(d.admin.Addr()))
}

// browsable is an address to go to: one that listens everywhere is also here.
func browsable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
	}
	return addr.String()
}
