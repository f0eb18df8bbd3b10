package rig

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/devstack"
)

// CreateDatabase makes another database, empty, on the same server.
func (r *Rig) CreateDatabase(ctx context.Context, name string) error {
	db, err := r.OpenSQL("")
	if err != nil {
		return err
	}
	defer db.Close()
	for _, q := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name + " CHARACTER SET utf8mb4"} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("create database: %w", err)
		}
	}
	return nil
}

// DSNOf is the data source name of a database on the same server.
func (r *Rig) DSNOf(name string) string { return r.server.DSN(name) }

// OpenSQL opens connections as the daemon's are: the same driver settings, SQL mode, time zone and isolation. Only that each statement commits by
// itself is other.
func (r *Rig) OpenSQL(name string) (*sql.DB, error) {
	c, err := mysql.ParseDSN(r.server.DSN(name))
	if err == nil {
		err = c.Apply(mysql.Charset("utf8mb4", "utf8mb4_bin"))
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	c.InterpolateParams, c.MaxAllowedPacket, c.Logger = true, 0, &mysql.NopLogger{}
	c.Params = map[string]string{"sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'", "time_zone": "'+00:00'"}
	isolation := "transaction_isolation"
	if r.server.Engine() == devstack.MariaDB {
		isolation = "tx_isolation" // so it is called in all its versions
	}
	c.Params[isolation] = "'READ-COMMITTED'"
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(256)
	return db, nil
}

// tables are those that events write.
var tables = strings.Fields("workflow_steps workflow_checkpoints workflow_checkpoints_v2 idempotency_keys events_outbox persistd_runs")

// Empty empties the tables and the log, with no daemon running. Positions stay: what is published next is beyond them.
func (r *Rig) Empty(ctx context.Context) error {
	if err := r.EmptyTables(ctx); err != nil {
		return err
	}
	return r.EmptyLog(ctx)
}

// EmptyTables empties the tables that events write, with no daemon running. One that is empty stays as it is, for to truncate it would be several fsyncs.
func (r *Rig) EmptyTables(ctx context.Context) error {
	for _, t := range tables {
		var one int
		switch err := r.db.QueryRowContext(ctx, "SELECT 1 FROM "+t+" LIMIT 1").Scan(&one); {
		case errors.Is(err, sql.ErrNoRows):
			continue
		case err != nil:
			return fmt.Errorf("empty %s: %w", t, err)
		}
		if _, err := r.db.ExecContext(ctx, "TRUNCATE TABLE "+t); err != nil {
			return fmt.Errorf("empty %s: %w", t, err)
		}
	}
	return nil
}

// settleWait bounds the wait for a database to come to rest: a disk that takes longer is no measure of anything.
const settleWait = 3 * time.Minute

// eager are settings with which the database writes what it has yet to write, as fast as the disk takes it. Of several the order matters.
var eager = []struct{ name, value string }{{"innodb_io_capacity_max", "20000"}, {"innodb_io_capacity", "20000"}, {"innodb_max_dirty_pages_pct", "0"}}

// Settle has the database write all that it has yet to write, and waits until it did, so that whoever is measured next pays for nobody else.
// Both sides of a comparison are to call it, at the same place.
func (r *Rig) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWait, fmt.Errorf("database did not come to rest within %s", settleWait))
	defer cancel()
	if err := r.eagerly(ctx, r.atRest); err != nil {
		return fmt.Errorf("settle database: %w", err)
	}
	return nil
}

// eagerly runs f with those settings.
func (r *Rig) eagerly(ctx context.Context, f func(context.Context) error) (err error) {
	for _, s := range eager {
		var was string
		if err := r.db.QueryRowContext(ctx, "SELECT @@GLOBAL."+s.name).Scan(&was); err != nil {
			return fmt.Errorf("read %s: %w", s.name, err)
		}
		defer func() { // the last is put back first: the capacity is never above the most it may be
			if resetErr := r.setGlobal(context.WithoutCancel(ctx), s.name, was); err == nil {
				err = resetErr
			}
		}()
		if err := r.setGlobal(ctx, s.name, s.value); err != nil {
			return err
		}
	}
	return f(ctx)
}

func (r *Rig) setGlobal(ctx context.Context, name, value string) error {
	if _, err := r.db.ExecContext(ctx, "SET GLOBAL "+name+"="+value); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}

// fewPages is how many may be left to be written: the server's own housekeeping makes some all the time.
const fewPages = 32

// unknownVariable is the number of the error of a server that has no such setting.
const unknownVariable = 1193

// atRest waits until few pages are left. The server looks once a second what there is to write; a MariaDB that can be told to do so now, is.
func (r *Rig) atRest(ctx context.Context) error {
	for {
		err := r.setGlobal(ctx, "innodb_log_checkpoint_now", "ON")
		if e, ok := errors.AsType[*mysql.MySQLError](err); err != nil && (!ok || e.Number != unknownVariable) {
			return err
		}
		var name string
		var dirty int
		if err := r.db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'").Scan(&name, &dirty); err != nil {
			return fmt.Errorf("count dirty pages: %w", err)
		}
		if dirty <= fewPages {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for %d pages to be written: %w", dirty, context.Cause(ctx))
		}
	}
}

// Count is how many rows a table of the database has.
func (r *Rig) Count(ctx context.Context, table string) (n int, err error) {
	if err := r.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+table).Scan(&n); err != nil {
		return 0, fmt.Errorf("count %s: %w", table, err)
	}
	return n, nil
}

// Version is what the database server says it is.
func (r *Rig) Version(ctx context.Context) (v string, err error) {
	if err := r.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&v); err != nil {
		return "", fmt.Errorf("ask database for its version: %w", err)
	}
	return string(r.server.Engine()) + " " + v, nil
}
