package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Examination is what there is to know of a database before it is relied upon. Nothing was changed.
type Examination struct {
	// Address is of the server that was asked, of Addresses that the DSN names; 1 when it names but one.
	Address   string
	Addresses int
	Limits    Limits
	// Variables are the server's settings that bear on what is promised, as SHOW GLOBAL VARIABLES gives them, and its state, as SHOW GLOBAL
	// STATUS does. What a server does not know is not there.
	Variables, Status map[string]string
	// Ahead is by how much the server's clock is ahead of this machine's; half of Took is how wrong that may be.
	Ahead, Took time.Duration
	// Schema is why the schema is not what this version needs; nil when it is.
	Schema error
	// Missing are the rights that `persistd serve` needs and the user lacks, as "INSERT on workflow_steps".
	Missing []string
}

// rights are what `persistd serve` does to which table, as docs/schema.md lists it, and a column to ask by.
var rights = []struct {
	table, column string
	changed       bool
	deleted       bool
}{
	{"workflow_steps", "run_id", true, true},
	{"workflow_checkpoints", "checkpoint_id", true, false},
	{"workflow_checkpoints_v2", "run_id", true, true},
	{"idempotency_keys", "key_value", true, true},
	{"events_outbox", "id", true, true},
	{"persistd_runs", "run_id", true, false},
	{"persistd_streams", "stream", true, false},
	{"persistd_partitions", "stream", true, false},
	{"persistd_replicas", "stream", true, true},
	{"persistd_gaps", "stream", true, false},
	{"persistd_database", "id", false, false},
	{versionTable, "version_id", false, false},
}

// Examine looks at the database. Its error, a *[batcher.Error], says why it could not.
func (s *Store) Examine(ctx context.Context) (x Examination, err error) {
	if x.Limits, err = s.Limits(ctx); err != nil {
		return x, err
	}
	x.Addresses = len(s.servers.drivers)
	x.Address = s.servers.drivers[s.servers.current.Load()].Addr
	x.Variables, err = shown(ctx, s.leases, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('innodb_flush_log_at_trx_commit','sync_binlog','log_bin',"+
		"'binlog_format','read_only','super_read_only','wsrep_on','wsrep_provider','group_replication_group_name','group_replication_consistency',"+
		"'innodb_doublewrite')")
	if err != nil {
		return x, s.fail("read the server's settings", err)
	}
	x.Status, err = shown(ctx, s.leases, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Slave_running','Replica_running','wsrep_cluster_size',"+
		"'wsrep_cluster_status','wsrep_ready','wsrep_local_state_comment')")
	if err != nil {
		return x, s.fail("read the server's state", err)
	}
	began := time.Now()
	var clock time.Time
	if err := s.leases.QueryRowContext(ctx, "SELECT UTC_TIMESTAMP(6)").Scan(&clock); err != nil {
		return x, s.fail("read the server's clock", err)
	}
	x.Took = time.Since(began)
	x.Ahead = clock.Sub(began.Add(x.Took / 2))
	x.Schema = s.CheckSchema(ctx)
	x.Missing, err = s.missing(ctx, x.Variables["read_only"] == "ON")
	return x, s.fail("look at the user's rights", err)
}

// missing asks the server to explain what it would do: for that it takes the right to do it, and does nothing. A server that is read-only
// refuses that, whoever asks.
func (s *Store) missing(ctx context.Context, readOnly bool) (all []string, err error) {
	for _, r := range rights {
		asks := map[string]string{"SELECT": fmt.Sprintf("EXPLAIN SELECT %s FROM %s WHERE FALSE", r.column, r.table)}
		if r.changed && !readOnly {
			asks["INSERT"] = fmt.Sprintf("EXPLAIN INSERT INTO %s (%s) VALUES ('1')", r.table, r.column)
			asks["UPDATE"] = fmt.Sprintf("EXPLAIN UPDATE %s SET %s='1' WHERE FALSE", r.table, r.column)
		}
		if r.deleted && !readOnly {
			asks["DELETE"] = fmt.Sprintf("EXPLAIN DELETE FROM %s WHERE FALSE", r.table)
		}
		for _, right := range []string{"SELECT", "INSERT", "UPDATE", "DELETE"} {
			ask, ok := asks[right]
			if !ok {
				continue
			}
			err := drained(ctx, s.leases, ask)
			if err == nil {
				continue
			}
			if _, answered := errors.AsType[*mysql.MySQLError](err); !answered {
				return nil, err
			}
			if Denied(Classify(err)) {
				all = append(all, right+" on "+r.table)
			} // what else there is to say of a table, the schema's check says
		}
	}
	return all, nil
}

func drained(ctx context.Context, db *sql.DB, query string) (err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("ask for rights: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
	}
	return rows.Err() //nolint:wrapcheck // the caller says what was asked.
}

// shown is the answer to a SHOW of names and values, the names in lower case.
func shown(ctx context.Context, db *sql.DB, query string) (_ map[string]string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was asked.
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err //nolint:wrapcheck // as above.
		}
		all[strings.ToLower(name)] = value
	}
	return all, rows.Err() //nolint:wrapcheck // as above.
}
