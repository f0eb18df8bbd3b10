package client

import (
	"context"
	"database/sql"

	"github.com/persistd/persistd/internal/mysqlstore"
)

// MySQLStore is a [Store] in MySQL or MariaDB, with nothing in between: no NATS, and no persistd. It keeps the tables of LangGraph-Go's
// MySQLStore, takes those that are there over, and may share them with it, with stores of other processes, and with a persistd.
//
// Every write is one transaction, and the method returns when it is committed: [Async], [Logged] and [Committed] all mean that here. Of two
// writes of a step the later one stands. A database that is away is [ErrUnavailable] at once; nothing is queued for it. What else is
// different from a store of [Open]: a state may be as large as the server's max_allowed_packet takes, and [Store.WatchRun] asks the
// database ten times a second.
//
// It may be used beside a store of Open of the same database, but then an event that still is in the log overwrites, once it is committed,
// what came by here; and a WatchRun of the other one does not see what comes by here.
type MySQLStore[S any] struct {
	*store[S]

	db *mysqlstore.Direct
}

var _ Store[any] = (*MySQLStore[any])(nil)

// NewMySQLStore connects to the database that the DSN names, as go-sql-driver has it (user:password@tcp(host:3306)/database), and makes its
// tables or brings them up to date, unless [WithMigration] is off. To take over tables with rows in them lasts as long as to copy them, and
// keeps their other writers out meanwhile; docs/schema.md says more.
//
// It fails with [ErrInvalidOption] when the DSN or an option is wrong, with [ErrUnavailable] when the database cannot be reached within
// 5 s, or its tables are not what they have to be, and with [ErrPermission] when it does not let the user in, or make tables. Nothing
// ever shows the DSN's password. Settings of the session that the DSN has (parseTime, loc, charset, sql_mode …) do not matter: the store
// sets its own.
func NewMySQLStore[S any](dsn string, opts ...Option) (*MySQLStore[S], error) {
	cfg, err := newConfig(opts, func(c config) error { return directConfig(dsn, c).WithDefaults().Validate() })
	if err != nil {
		return nil, newError(opOpen, "", 0, err)
	}
	db, err := mysqlstore.OpenDirect(context.Background(), directConfig(dsn, cfg), cfg.logger)
	if err != nil {
		return nil, newError(opOpen, "", 0, directFault(err, nil))
	}
	return &MySQLStore[S]{newStore[S](newDirect(db, cfg), cfg), db}, nil
}

// Stats are those of the pool of connections, which [WithPool] bounds.
func (s *MySQLStore[S]) Stats() sql.DBStats { return s.db.Stats() }

func directConfig(dsn string, c config) mysqlstore.DirectConfig {
	return mysqlstore.DirectConfig{
		DSN: dsn, MaxOpen: c.pool.MaxOpen, MaxIdle: c.pool.MaxIdle, MaxLifetime: c.pool.MaxLifetime, MaxIdleTime: c.pool.MaxIdleTime,
		ConnectTimeout: connectTimeout, Migrate: c.migrate,
	}
}
