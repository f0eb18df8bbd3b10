package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// Acquire implements [partition.Leases]. A partition that has lost its row, because the database was restored to before it was
// registered, is registered again and begins at position 0: the log heals the database (I2).
func (s *Store) Acquire(ctx context.Context, no int, reclaim bool) (partition.Term, error) {
	what := "acquire partition " + strconv.Itoa(no)
	r := s.registered.Load()
	if r == nil {
		return partition.Term{}, s.fail(what, errNotRegistered)
	}
	term, err := s.acquire(ctx, r, no, reclaim)
	if errors.Is(err, sql.ErrNoRows) && no < r.log.Partitions {
		if err := s.Register(ctx, r.log); err != nil {
			return partition.Term{}, err
		}
		term, err = s.acquire(ctx, r, no, reclaim)
	}
	if errors.Is(err, partition.ErrHeld) {
		return partition.Term{}, fmt.Errorf("%s: %w", what, err) // an answer, not a failure of the database
	}
	return term, s.fail(what, err)
}

// acquire waits for nobody's lock: the row of a partition that is being committed is locked, by its owner or by one that was paused or cut off
// in the middle of it and has lost the lease meanwhile. To wait for that would keep a connection from the renewals.
func (s *Store) acquire(ctx context.Context, r *registration, no int, reclaim bool) (term partition.Term, err error) {
	const free = "(owner='' OR lease_until<UTC_TIMESTAMP(6) OR (? AND owner=?))"
	where := " WHERE " + string(r.appendKey(nil, no))
	var (
		owner      string
		mayTake    bool
		generation uint32
		logged     sql.NullTime
	)
	err = s.leases.QueryRowContext(ctx, "SELECT owner, "+free+" FROM persistd_partitions"+where, reclaim, s.config.Owner).Scan(&owner, &mayTake)
	if err != nil {
		return term, fmt.Errorf("look at lease: %w", err)
	}
	if !mayTake {
		return term, fmt.Errorf("%w: %q", partition.ErrHeld, owner)
	}
	tx, err := s.leases.BeginTx(ctx, nil)
	if err != nil {
		return term, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed
	err = tx.QueryRowContext(ctx, "SELECT epoch, position, generation, "+positionLogged+" FROM persistd_partitions"+where+" AND "+free+" FOR UPDATE SKIP LOCKED",
		reclaim, s.config.Owner).Scan(&term.Epoch, &term.Position, &generation, &logged)
	if errors.Is(err, sql.ErrNoRows) {
		return partition.Term{}, fmt.Errorf("%w: another was faster, or %q has a transaction open", partition.ErrHeld, owner)
	}
	if err != nil {
		return partition.Term{}, fmt.Errorf("lock partition: %w", err)
	}
	term.Partition, term.Epoch = no, term.Epoch+1
	_, err = tx.ExecContext(ctx, "UPDATE persistd_partitions SET owner=?, epoch=?, lease_until=UTC_TIMESTAMP(6)+INTERVAL ? MICROSECOND"+where,
		s.config.Owner, term.Epoch, s.config.Lease.Microseconds())
	if err != nil {
		return partition.Term{}, fmt.Errorf("take lease: %w", err)
	}
	term.Logged = logged.Time
	if err := tx.Commit(); err != nil {
		return partition.Term{}, fmt.Errorf("commit: %w", err)
	}
	if generation != r.generation {
		// Another replica registered the stream again, after the database was restored.
		s.registered.Store(&registration{log: r.log, generation: generation})
	}
	return term, nil
}

// Renew implements [partition.Leases]. The row of a partition that is being committed is locked; waiting for it would hold up the
// leases of all others, so it is passed over: its commit extends its lease by itself.
func (s *Store) Renew(ctx context.Context, terms []partition.Term, present bool) (lost []partition.Term, err error) {
	const what = "renew leases"
	r := s.registered.Load()
	if r == nil {
		return nil, s.fail(what, errNotRegistered)
	}
	show := s.leave
	if present {
		show = s.appear
	}
	if len(terms) == 0 {
		err = show(ctx, s.leases, r)
	} else {
		lost, err = s.renew(ctx, r, terms, show)
	}
	if err == nil {
		err = s.forgetReplicas(ctx, r)
	}
	return lost, s.fail(what, err)
}

func (s *Store) renew(ctx context.Context, r *registration, terms []partition.Term, show func(context.Context, execer, *registration) error,
) (lost []partition.Term, err error) {
	tx, err := s.leases.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed
	// Before the leases, which so end after it: who may take them does no longer count this replica in.
	if err := show(ctx, tx, r); err != nil {
		return nil, err
	}
	mine := r.appendStream(nil)
	mine = append(mine, " AND owner="...)
	mine = appendString(mine, s.config.Owner)
	mine = append(mine, " AND partition_no IN ("...)
	free, err := owned(ctx, tx, string(appendNumbers(mine, terms))+" FOR UPDATE SKIP LOCKED")
	if err != nil {
		return nil, fmt.Errorf("lock leases: %w", err)
	}
	var renewable []partition.Term
	for _, t := range terms {
		if epoch, ok := free[t.Partition]; ok && epoch == t.Epoch {
			renewable = append(renewable, t)
		}
	}
	if len(renewable) > 0 {
		q := "UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)+INTERVAL ? MICROSECOND WHERE " +
			string(appendNumbers(mine, renewable))
		if _, err := tx.ExecContext(ctx, q, s.config.Lease.Microseconds()); err != nil {
			return nil, fmt.Errorf("extend leases: %w", err)
		}
	}
	if len(renewable) < len(terms) {
		epochs, err := owned(ctx, tx, string(appendNumbers(mine, terms)))
		if err != nil {
			return nil, fmt.Errorf("read leases: %w", err)
		}
		for _, t := range terms {
			if epoch, ok := epochs[t.Partition]; !ok || epoch != t.Epoch {
				lost = append(lost, t)
			}
		}
	}
	return lost, wrap("commit", tx.Commit())
}

// owned reads the epochs of the partitions that condition finds.
func owned(ctx context.Context, tx *sql.Tx, condition string) (_ map[int]uint64, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT partition_no, epoch FROM persistd_partitions WHERE "+condition)
	if err != nil {
		return nil, fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	epochs := map[int]uint64{}
	for rows.Next() {
		var (
			no    int
			epoch uint64
		)
		if err := rows.Scan(&no, &epoch); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		epochs[no] = epoch
	}
	return epochs, wrap("read", rows.Err())
}

// appendNumbers appends the terms' partitions and the closing parenthesis to a copy of q.
func appendNumbers(q []byte, terms []partition.Term) []byte {
	q = slices.Clip(q)
	for i, t := range terms {
		if i > 0 {
			q = append(q, ',')
		}
		q = strconv.AppendInt(q, int64(t.Partition), 10)
	}
	return append(q, ')')
}

// Release implements [partition.Leases].
func (s *Store) Release(ctx context.Context, term partition.Term) error {
	what := "release partition " + strconv.Itoa(term.Partition)
	r := s.registered.Load()
	if r == nil {
		return s.fail(what, errNotRegistered)
	}
	_, err := s.leases.ExecContext(ctx, "UPDATE persistd_partitions SET owner='', lease_until=UTC_TIMESTAMP(6) WHERE "+
		string(r.appendKey(nil, term.Partition))+" AND owner=? AND epoch=?", s.config.Owner, term.Epoch)
	return s.fail(what, err)
}

// Place implements [partition.Leases].
func (s *Store) Place(ctx context.Context, no int) (place wire.Place, err error) {
	what := "read position of partition " + strconv.Itoa(no)
	r := s.registered.Load()
	if r == nil {
		return place, s.fail(what, errNotRegistered)
	}
	var logged sql.NullTime
	err = s.leases.QueryRowContext(ctx, "SELECT position, "+positionLogged+" FROM persistd_partitions WHERE "+string(r.appendKey(nil, no))).
		Scan(&place.Sequence, &logged)
	place.Logged = logged.Time
	return place, s.fail(what, err)
}

// Position reads the partition's position.
func (s *Store) Position(ctx context.Context, no int) (position uint64, err error) {
	what := "read position of partition " + strconv.Itoa(no)
	r := s.registered.Load()
	if r == nil {
		return 0, s.fail(what, errNotRegistered)
	}
	err = s.leases.QueryRowContext(ctx, "SELECT position FROM persistd_partitions WHERE "+string(r.appendKey(nil, no))).Scan(&position)
	return position, s.fail(what, err)
}
