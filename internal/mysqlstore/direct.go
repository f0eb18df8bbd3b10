package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// DirectConfig says where the database of a [Direct] is and how it is used.
type DirectConfig struct {
	// DSN is as of a [Config].
	DSN string
	// MaxOpen is how many connections there may be at once. Zero is 25; negative is no limit.
	MaxOpen int
	// MaxIdle is how many of them are kept while nothing uses them. Zero is 5; negative is none.
	MaxIdle int
	// MaxLifetime is how old a connection may become, MaxIdleTime how long it may idle. Zero is 5 min and 10 min; negative is for ever.
	MaxLifetime, MaxIdleTime time.Duration
	// ConnectTimeout is as of a [Config].
	ConnectTimeout time.Duration
	// Migrate makes the schema what it has to be; otherwise it is checked.
	Migrate bool
}

// WithDefaults returns a copy with the zero fields set.
func (c DirectConfig) WithDefaults() DirectConfig {
	if c.MaxOpen == 0 {
		c.MaxOpen = 25
	}
	if c.MaxIdle == 0 {
		c.MaxIdle = 5
	}
	if c.MaxLifetime == 0 {
		c.MaxLifetime = 5 * time.Minute
	}
	if c.MaxIdleTime == 0 {
		c.MaxIdleTime = 10 * time.Minute
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = Config{}.WithDefaults().ConnectTimeout
	}
	return c
}

// Validate reports what is wrong with c, which has its defaults. It never shows the DSN.
func (c DirectConfig) Validate() error {
	var errs []error
	if _, err := c.store().servers(); err != nil {
		errs = append(errs, err)
	}
	if c.ConnectTimeout < 0 {
		errs = append(errs, fmt.Errorf("connect timeout: %s: want more than 0", c.ConnectTimeout))
	}
	return errors.Join(errs...)
}

// store is what c and a Config have in common.
func (c DirectConfig) store() Config { return Config{DSN: c.DSN, ConnectTimeout: c.ConnectTimeout} }

// Direct is the database without a log before it: events apply when they are given, by the same rules. Who comes later overwrites, so several
// of them, and LangGraph-Go's MySQLStore, may work on one database; beside a [Store] that applies a log, an event of the log overwrites what
// came by here, whichever was first. Its methods may be called concurrently, and wait for the server no longer than their ctx. An error is
// a *[batcher.Error], and perhaps one of this package's errors besides.
type Direct struct {
	reads
	packet packetLimit
}

// Errors of [Direct.Apply].
var (
	// ErrDuplicate says that an idempotency key of the event was used before, with other content. Nothing changed.
	ErrDuplicate = errors.New("idempotency key was used with other content")
	// ErrStale says that a newer attempt of the run has begun than the event's. Nothing changed.
	ErrStale = errors.New("a newer attempt has begun")
	// ErrUnknown says that the server was asked to commit and did not answer: it may have.
	ErrUnknown = errors.New("whether it was committed is not known")
)

// lockWait bounds how long a statement waits for a lock. One whose caller is gone waits on at the server, with the locks that it has.
const lockWait = "SET innodb_lock_wait_timeout=10"

// OpenDirect connects to the database, and makes its schema what it has to be, or checks that it is. Unless an earlier version's tables, or
// LangGraph-Go's, are to be taken over, that is quick; taking over lasts as long as [Store.Migrate] says. c is checked and has its zero
// fields set.
func OpenDirect(ctx context.Context, c DirectConfig, log *zap.Logger) (_ *Direct, err error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("check database settings: %w", err)
	}
	servers, err := c.store().servers()
	if err != nil {
		return nil, fmt.Errorf("check database settings: %w", err)
	}
	servers.logTo(log)
	db, err := c.openPool(servers)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	schema := schema{c.store(), servers, db, log}
	err = schema.checkWithin(ctx, openWait)
	if c.Migrate && errors.Is(err, ErrSchemaPending) {
		err = classified("migrate schema", schema.up(ctx))
	}
	if err != nil {
		return nil, err
	}
	return &Direct{reads: reads{db: db, generation: noGeneration, failed: classified}}, nil
}

// openWait is for what is to be known of a database before it is used.
const openWait = 30 * time.Second

// checkWithin connects and checks the schema.
func (s *schema) checkWithin(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := s.db.PingContext(ctx); err != nil {
		return classified("connect to database", err)
	}
	return classified("check schema", s.check(ctx))
}

func (c DirectConfig) openPool(v *servers) (*sql.DB, error) {
	db, err := c.store().openPool(v, c.MaxOpen, c.MaxIdleTime, lockWait)
	if err != nil {
		return nil, err
	}
	db.SetMaxIdleConns(c.MaxIdle)
	db.SetConnMaxLifetime(c.MaxLifetime)
	return db, nil
}

func noGeneration() (uint32, error) { return 0, nil }

// classified is err with what was done, classified; nil for nil.
func classified(what string, err error) error {
	if err == nil {
		return nil
	}
	e := Classify(err)
	e.Err = fmt.Errorf("%s: %w", what, e.Err)
	return e
}

// Ping asks the server whether it is there.
func (d *Direct) Ping(ctx context.Context) error {
	return d.failed("ping database", d.db.PingContext(ctx))
}

// Stats are the pool's.
func (d *Direct) Stats() sql.DBStats { return d.db.Stats() }

// Close closes the connections, when the statements that are under way have ended. It is idempotent.
func (d *Direct) Close() error { return d.db.Close() } //nolint:wrapcheck // it says all there is.

// alone is where a record is read without a log's position beside it.
var alone = beside{"(SELECT 0 AS position, 0 AS generation)", "TRUE", nil}

// Latest reads the run's step with the highest number among those of its newest attempt that has saved one; nil when there is none.
func (d *Direct) Latest(ctx context.Context, runID string) (*wire.StepRecord, error) {
	row, err := d.latest(ctx, alone, runID)
	if err != nil {
		return nil, d.failed("read latest step", err)
	}
	return row.step.record(0), nil
}

// Checkpoint reads the named checkpoint; nil when there is none.
func (d *Direct) Checkpoint(ctx context.Context, id string) (*wire.CheckpointRecord, error) {
	record, _, err := d.checkpoint(ctx, alone, id)
	return record, d.failed("read checkpoint", err)
}
