package mysqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// The tables that keep the schema's state.
const (
	versionTable = "persistd_schema_version"
	lockTable    = "persistd_schema_lock"
)

// Errors of the schema.
var (
	// ErrSchemaPending says that migrations are to be applied first.
	ErrSchemaPending = errors.New("schema has migrations pending")
	// ErrSchemaNewer says that a newer version of persistd has migrated the database.
	ErrSchemaNewer = errors.New("schema is newer than this version of persistd")
)

const (
	hintMigrate = "run persistd migrate, as a user with the rights that docs/schema.md lists for migrate:" +
		" GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX ON <database>.*"
	hintUpgrade = "run a version of persistd that is at least as new as the one that migrated the database, or restore the database"
)

// schema is the schema of a database, as db and whoever migrates sees it.
type schema struct {
	config  Config
	servers *servers
	db      *sql.DB
	log     *zap.Logger
}

func (s *Store) schema() *schema { return &schema{s.config, s.servers, s.leases, s.log} }

// CheckSchema returns nil when the schema is what this version needs. Otherwise the error wraps [ErrSchemaPending] or
// [ErrSchemaNewer], or says why it is not known. It writes nothing.
func (s *Store) CheckSchema(ctx context.Context) error {
	return s.fail("check schema", s.schema().check(ctx))
}

// check returns nil when the schema is what this version needs.
func (s *schema) check(ctx context.Context) error {
	known, err := s.provider(s.db)
	if err != nil {
		return err
	}
	applied, err := appliedVersions(ctx, s.db)
	if err != nil {
		return err
	}
	sources := known.ListSources()
	newest := sources[len(sources)-1].Version
	pending := len(sources)
	for v := range applied {
		if v > newest {
			return &verdict{
				class: batcher.Operator, hint: hintUpgrade,
				err: fmt.Errorf("%w: it is at %d, this version knows %d", ErrSchemaNewer, v, newest),
			}
		}
	}
	for _, src := range sources {
		if applied[src.Version] {
			pending--
		}
	}
	if pending > 0 {
		return &verdict{class: batcher.Operator, hint: hintMigrate, err: fmt.Errorf("%w: %d of %d", ErrSchemaPending, pending, len(sources))}
	}
	return nil
}

// appliedVersions are the migrations that the database says it has.
func appliedVersions(ctx context.Context, db *sql.DB) (_ map[int64]bool, err error) {
	applied := map[int64]bool{}
	rows, err := db.QueryContext(ctx, "SELECT version_id FROM "+versionTable+" WHERE is_applied")
	var answer *mysql.MySQLError
	if errors.As(err, &answer) && answer.Number == noSuchTable {
		return applied, nil // nothing was ever migrated
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", versionTable, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var v int64
		if err := rows.Scan(&v); err != nil {
			return nil, fmt.Errorf("read %s: %w", versionTable, err)
		}
		applied[v] = true
	}
	return applied, wrap("read "+versionTable, rows.Err())
}

const noSuchTable = 1146

// Migrate makes the schema what this version needs, from an empty database or from one that LangGraph-Go's MySQLStore made. It
// writes nothing, and needs no rights but SELECT, when everything is applied. Several replicas may call it at once: one works, the
// others wait. It may be ended at any moment, even by a crash, and called again: each migration looks at what is there.
//
// A table that is taken over is rebuilt once, which takes as long as copying it and keeps writers out meanwhile; docs/schema.md says
// what that costs.
func (s *Store) Migrate(ctx context.Context) error {
	return s.fail("migrate schema", s.schema().migrate(ctx))
}

// migrate applies what is pending.
func (s *schema) migrate(ctx context.Context) error {
	err := s.check(ctx)
	if err == nil || !errors.Is(err, ErrSchemaPending) {
		return err
	}
	return s.up(ctx)
}

func (s *schema) up(ctx context.Context) (err error) {
	// A pool of its own: no read timeout that the DSN may have must end a long ALTER TABLE.
	patient := s.servers.with(func(d *mysql.Config) { d.ReadTimeout, d.WriteTimeout = 0, 0 })
	db, err := s.config.openPool(patient, 4, time.Minute)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	locker, err := lock.NewMySQLTableLocker(
		lock.WithTableName(lockTable),
		// A lock whose holder died is free after the lease; the others ask for it twice a second, for as long as an ALTER may take.
		lock.WithTableLeaseDuration(30*time.Second),
		lock.WithTableHeartbeatInterval(5*time.Second),
		lock.WithTableLockTimeout(500*time.Millisecond, 2*60*60*24),
		lock.WithTableUnlockTimeout(500*time.Millisecond, 20),
		lock.WithTableRetryPolicy(func(err error) bool { return Classify(err).Class == batcher.Again }),
		lock.WithTableLogger(slogger(s.log)),
	)
	if err != nil {
		return fmt.Errorf("configure lock: %w", err)
	}
	p, err := s.provider(db, goose.WithLocker(locker))
	if err != nil {
		return err
	}
	results, err := p.Up(ctx)
	for _, r := range results {
		s.log.Info("migration applied", zap.Int64("version", r.Source.Version), zap.Duration("took", r.Duration))
	}
	return forbidden(wrap("apply migrations", err))
}

// forbidden adds to an error about missing rights which ones are needed.
func forbidden(err error) error {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Number {
	case 1044, 1142, 1143, 1227, 1370: // see rules
		return &verdict{class: batcher.Operator, number: answer.Number, hint: hintMigrate, err: fmt.Errorf("%w: %w", ErrSchemaPending, err)}
	default:
		return err
	}
}

// provider knows the migrations.
func (s *schema) provider(db *sql.DB, options ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectMySQL, db, files, append([]goose.ProviderOption{
		goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(takeovers()...),
	}, options...)...)
	return p, wrap("load migrations", err)
}
