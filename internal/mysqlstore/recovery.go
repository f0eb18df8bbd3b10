package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// recoveryTables are made by the migration that follows. A dump has them, so that a restored database is still the one that it was.
var recoveryTables = []string{
	`CREATE TABLE IF NOT EXISTS persistd_database (
    one TINYINT UNSIGNED NOT NULL DEFAULT 1 PRIMARY KEY COMMENT 'there is one row',
    id VARCHAR(64) NOT NULL COMMENT 'by which a log knows this database from others',
    made_at DATETIME(6) NOT NULL COMMENT 'UTC'
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`,
	// One row: whoever comes second finds it.
	`INSERT INTO persistd_database (one, id, made_at) VALUES (1, UUID(), UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE one=one`,
	`CREATE TABLE IF NOT EXISTS persistd_gaps (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    stream VARCHAR(255) NOT NULL,
    stream_created DATETIME(6) NOT NULL,
    partition_no INT NOT NULL COMMENT '-1: it is not known which',
    after_seq BIGINT UNSIGNED NOT NULL COMMENT 'the last event that is in this database',
    after_logged DATETIME(6) NULL COMMENT 'UTC; NULL: not known',
    through_seq BIGINT UNSIGNED NOT NULL COMMENT 'the last event that is missing',
    through_logged DATETIME(6) NULL COMMENT 'UTC; NULL: not known',
    why VARCHAR(255) NOT NULL,
    found_at DATETIME(6) NOT NULL COMMENT 'UTC',
    found_by VARCHAR(255) NOT NULL,
    accepted_at DATETIME(6) NULL COMMENT 'UTC; NULL: nobody has',
    accepted_by VARCHAR(255) NOT NULL DEFAULT '',
    UNIQUE KEY unique_gap (stream, stream_created, partition_no, after_seq, through_seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`,
}

// recoveryMigration brings what a restored database and a log that is not what it was are recognised by. It can be repeated.
func recoveryMigration(version int64) *goose.Migration {
	up := func(ctx context.Context, db *sql.DB) error {
		for _, t := range []table{partitionsTable, streamsTable} {
			if err := t.takeOver(ctx, db); err != nil {
				return err
			}
		}
		return wrap("make tables of recovery", execAll(ctx, db, recoveryTables))
	}
	return goose.NewGoMigration(version, &goose.GoFunc{RunDB: up, Mode: goose.TransactionDisabled}, &goose.GoFunc{Mode: goose.TransactionDisabled})
}

// Identity is the id that this database was given when its schema was made. A dump keeps it: a restored database is the same one.
func (s *Store) Identity(ctx context.Context) (id string, err error) {
	err = s.leases.QueryRowContext(ctx, "SELECT id FROM persistd_database").Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = &verdict{
			class: batcher.Operator, err: errors.New("persistd_database has no row"),
			hint: "give it one: INSERT INTO persistd_database (id, made_at) VALUES (UUID(), UTC_TIMESTAMP(6))",
		}
	}
	return id, s.fail("read the database's identity", err)
}

// Gap is a part of a log that this database lacks and no log holds any more.
type Gap struct {
	ID uint64 `json:"id"`
	// Stream and Created are the log.
	Stream  string    `json:"stream"`
	Created time.Time `json:"stream_created"`
	// Partition is -1 when it is not known which.
	Partition int `json:"partition"`
	// After is the last event that is in the database, Through the last one that is missing.
	After   wire.Place `json:"after"`
	Through wire.Place `json:"through"`
	// Why says how it came about.
	Why     string    `json:"why"`
	FoundAt time.Time `json:"found_at"`
	// AcceptedAt is zero while nobody has accepted it.
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
	AcceptedBy string    `json:"accepted_by,omitempty"`
}

// RecordGap keeps a gap until somebody accepts it. It is idempotent: fresh is false when the gap was known already, accepted or not.
func (s *Store) RecordGap(ctx context.Context, g *Gap) (fresh bool, err error) {
	_, err = s.leases.ExecContext(ctx, "INSERT INTO persistd_gaps (stream, stream_created, partition_no, after_seq, after_logged,"+
		" through_seq, through_logged, why, found_at, found_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, UTC_TIMESTAMP(6), ?)",
		g.Stream, g.Created.UTC(), g.Partition, g.After.Sequence, timeOrNull(g.After.Logged), g.Through.Sequence, timeOrNull(g.Through.Logged),
		g.Why, s.config.Owner)
	var answer *mysql.MySQLError
	if errors.As(err, &answer) && answer.Number == duplicateEntry {
		return false, nil
	}
	return err == nil, s.fail("record gap", err)
}

func timeOrNull(t time.Time) sql.NullTime {
	return sql.NullTime{Time: t.UTC().Truncate(time.Microsecond), Valid: !t.IsZero()}
}

// Gaps are the gaps of all logs of that name, oldest first; without the accepted ones when open is set.
func (s *Store) Gaps(ctx context.Context, stream string, open bool) ([]Gap, error) {
	all, err := s.gaps(ctx, stream, open)
	return all, s.fail("read gaps", err)
}

func (s *Store) gaps(ctx context.Context, stream string, open bool) (_ []Gap, err error) {
	q := "SELECT id, stream, stream_created, partition_no, after_seq, after_logged, through_seq, through_logged, why, found_at, accepted_at, accepted_by" +
		" FROM persistd_gaps WHERE stream=?"
	if open {
		q += " AND accepted_at IS NULL"
	}
	rows, err := s.leases.QueryContext(ctx, q+" ORDER BY id", stream)
	if err != nil {
		return nil, fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []Gap
	for rows.Next() {
		var (
			g                        Gap
			after, through, accepted sql.NullTime
		)
		err := rows.Scan(&g.ID, &g.Stream, &g.Created, &g.Partition, &g.After.Sequence, &after, &g.Through.Sequence, &through, &g.Why, &g.FoundAt, &accepted, &g.AcceptedBy)
		if err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		g.After.Logged, g.Through.Logged, g.AcceptedAt = after.Time, through.Time, accepted.Time
		all = append(all, g)
	}
	return all, wrap("read", rows.Err())
}

// AcceptGaps says that the gaps with these ids are known and lived with: they stay on record and no longer keep a replica from being ready.
func (s *Store) AcceptGaps(ctx context.Context, by string, ids []uint64) error {
	for _, id := range ids {
		_, err := s.leases.ExecContext(ctx, "UPDATE persistd_gaps SET accepted_at=UTC_TIMESTAMP(6), accepted_by=? WHERE id=? AND accepted_at IS NULL", by, id)
		if err != nil {
			return s.fail(fmt.Sprintf("accept gap %d", id), err)
		}
	}
	return nil
}

// Unrestored are the tables that a restore of this database seems not to have reached yet; none when there is none under way. A dump is loaded table
// by table, and by its usual order the positions come before most rows: what is applied from them meanwhile goes into tables that are
// dropped next, and the positions stay. To be asked of a partition whose position has gone back, and only then: an ALTER TABLE looks the same.
//
// It is told by when the tables were made. Every table of a dump is made after the last commit that is in it; so when that of the positions was,
// and another was not, the other is still the old one. One that has just been made may not be locked yet by who fills it. Tables that were
// emptied and filled again are as old as ever, and tell nothing.
//
// What other partitions have committed since the positions' table was made is not in the dump, and tells nothing either. What this one has ends the
// matter: it was let begin.
func (s *Store) Unrestored(ctx context.Context, partition int) ([]string, error) {
	r := s.registered.Load()
	if r == nil {
		return nil, s.fail("ask whether the database is being restored", errNotRegistered)
	}
	names, err := s.unrestored(ctx, r, partition)
	return names, s.fail("ask whether the database is being restored", err)
}

// RestorableTables are the tables that what is applied is written to, or goes by.
var RestorableTables = []string{
	"workflow_steps", "workflow_checkpoints", "workflow_checkpoints_v2", "idempotency_keys", "events_outbox", "persistd_runs",
	"persistd_streams", PositionsTable,
}

// PositionsTable is the one that has the positions.
const PositionsTable = "persistd_partitions"

func (s *Store) unrestored(ctx context.Context, r *registration, partition int) (_ []string, err error) {
	var committed sql.NullTime
	const made = "(SELECT create_time FROM information_schema.tables WHERE table_schema=DATABASE() AND LOWER(table_name)='" + PositionsTable + "')"
	if err := s.leases.QueryRowContext(ctx, "SELECT MAX(updated_at) FROM persistd_partitions WHERE updated_at<"+made+
		" AND NOT EXISTS (SELECT 1 FROM persistd_partitions own WHERE "+string(r.appendStream(nil))+" AND partition_no=? AND updated_at>="+made+")",
		partition).Scan(&committed); err != nil {
		return nil, fmt.Errorf("read last commit: %w", err)
	}
	rows, err := s.leases.QueryContext(ctx, "SELECT LOWER(table_name), create_time, create_time > UTC_TIMESTAMP() - INTERVAL 5 SECOND"+
		" FROM information_schema.tables WHERE table_schema=DATABASE()")
	if err != nil {
		return nil, fmt.Errorf("select tables: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	last := committed.Time.Truncate(time.Second)        // as precise as the servers tell when a table was made
	under, old := false, slices.Clone(RestorableTables) // one that is not there is dropped, and not made again yet
	for rows.Next() {
		var (
			name   string
			made   sql.NullTime
			recent sql.NullBool
		)
		if err := rows.Scan(&name, &made, &recent); err != nil {
			return nil, fmt.Errorf("scan table: %w", err)
		}
		if name == "persistd_partitions" {
			under = made.Time.After(last)
		}
		if !recent.Bool && (!made.Valid || !made.Time.Before(last) || name == "persistd_partitions") {
			old = slices.DeleteFunc(old, func(s string) bool { return s == name })
		}
	}
	if !under || !committed.Valid {
		old = nil
	}
	return old, wrap("read tables", rows.Err())
}

// TablesMade is when each table of the database was made, to the second, by the database's clock. A table that is dropped is not in it.
func (s *Store) TablesMade(ctx context.Context) (map[string]time.Time, error) {
	made, err := s.tablesMade(ctx)
	return made, s.fail("ask when tables were made", err)
}

func (s *Store) tablesMade(ctx context.Context) (_ map[string]time.Time, err error) {
	rows, err := s.leases.QueryContext(ctx, "SELECT LOWER(table_name), create_time FROM information_schema.tables WHERE table_schema=DATABASE()")
	if err != nil {
		return nil, fmt.Errorf("select tables: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all := map[string]time.Time{}
	for rows.Next() {
		var (
			name string
			made sql.NullTime
		)
		if err := rows.Scan(&name, &made); err != nil {
			return nil, fmt.Errorf("scan table: %w", err)
		}
		all[name] = made.Time
	}
	return all, wrap("read tables", rows.Err())
}

// SetBack moves a partition of this owner from one position back to another: what lies between is applied again, which changes nothing that is
// there. It is for a restored database, whose rows may lack it; the present term ends with it.
func (s *Store) SetBack(ctx context.Context, partition int, from, to uint64) error {
	what := fmt.Sprintf("set partition %d back from %d to %d", partition, from, to)
	r := s.registered.Load()
	if r == nil {
		return s.fail(what, errNotRegistered)
	}
	_, err := s.leases.ExecContext(ctx, "UPDATE persistd_partitions SET position=?, position_of=0, position_logged=NULL WHERE "+
		string(r.appendKey(nil, partition))+" AND owner=? AND position=? AND position>?", to, s.config.Owner, from, to)
	return s.fail(what, err)
}
