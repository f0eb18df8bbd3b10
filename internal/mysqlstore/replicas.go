package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/partition"
)

// Look implements [partition.Leases]: partitions and replicas in one statement, which waits for nobody.
func (s *Store) Look(ctx context.Context) (partition.View, error) {
	r := s.registered.Load()
	if r == nil {
		return partition.View{}, s.fail("look at leases", errNotRegistered)
	}
	v, err := s.look(ctx, r)
	return v, s.fail("look at leases", err)
}

func (s *Store) look(ctx context.Context, r *registration) (v partition.View, err error) {
	v = partition.View{Self: s.config.Owner, Replicas: map[string]time.Duration{}, Leases: make([]partition.Lease, r.log.Partitions)}
	const left = "TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), "
	of := " WHERE " + string(r.appendStream(nil))
	rows, err := s.leases.QueryContext(ctx, "SELECT partition_no, owner, "+left+"lease_until) FROM persistd_partitions"+of+
		" UNION ALL SELECT NULL, instance, "+left+"seen_until) FROM persistd_replicas"+of)
	if err != nil {
		return v, fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			no    sql.Null[int]
			name  string
			micro int64
		)
		if err := rows.Scan(&no, &name, &micro); err != nil {
			return v, fmt.Errorf("scan: %w", err)
		}
		switch d := time.Duration(micro) * time.Microsecond; {
		case no.Valid && no.V < len(v.Leases):
			v.Leases[no.V] = partition.Lease{Owner: name, Left: d}
		case !no.Valid && d > 0:
			v.Replicas[name] = d
		case !no.Valid && d < -forgetAfter:
			s.forget.Store(true)
		}
	}
	return v, wrap("read", rows.Err())
}

// forgetAfter is how long the row of a replica stays that did not take it back: for people who look.
const forgetAfter = time.Hour

// appear says that this replica is there for as long as a lease.
func (s *Store) appear(ctx context.Context, on execer, r *registration) error {
	q := []byte("INSERT INTO persistd_replicas (stream, stream_created, instance, since, seen_until) VALUES (")
	q = appendString(q, r.log.Stream)
	q = r.log.Created.AppendFormat(q, ",'2006-01-02 15:04:05.000000',")
	q = appendString(q, s.config.Owner)
	q = append(q, ",UTC_TIMESTAMP(6),UTC_TIMESTAMP(6)+INTERVAL ? MICROSECOND) ON DUPLICATE KEY UPDATE seen_until=VALUES(seen_until)"...)
	if _, err := on.ExecContext(ctx, string(q), s.config.Lease.Microseconds()); err != nil {
		return fmt.Errorf("say that this replica is there: %w", err)
	}
	return nil
}

// leave takes that back.
func (s *Store) leave(ctx context.Context, on execer, r *registration) error {
	_, err := on.ExecContext(ctx, "DELETE FROM persistd_replicas WHERE "+string(r.appendStream(nil))+" AND instance=?", s.config.Owner)
	return wrap("take back that this replica is there", err)
}

// execer is a connection, or a transaction on one.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// forgetReplicas removes the rows of those that died long ago. It waits for nobody's row for long: only dead ones are asked for.
func (s *Store) forgetReplicas(ctx context.Context, r *registration) error {
	if !s.forget.CompareAndSwap(true, false) {
		return nil
	}
	_, err := s.leases.ExecContext(ctx, "DELETE FROM persistd_replicas WHERE "+string(r.appendStream(nil))+
		" AND seen_until<UTC_TIMESTAMP(6)-INTERVAL ? MICROSECOND", forgetAfter.Microseconds())
	return wrap("forget replicas", err)
}
