package mysqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// Commit implements [batcher.Store].
//
//	I2: fence and rows are one transaction: there is no moment at which one is visible without the other.
//	I3: the fence changes the row of exactly this owner, epoch and position, or nothing is written.
//	I4: a row changes only to a (generation, sequence) that is not smaller than its own.
//	I5: whole events are applied; one of which a part is refused is none at all.
//
//	lock and move the position, if owner, epoch and position are ours    ── not one row: roll back, find out why
//	apply the events (see applier)                                       ── some are of an older attempt, or refused: roll back, say which
//	commit                                                               ── an error leaves open whether it happened
//
// Whatever fails before COMMIT was sent has written nothing: the transaction is rolled back, or its connection is dropped and the
// server rolls it back. A COMMIT that fails may have happened: the error is [batcher.Again], and the next attempt finds the
// position at b.Last() and returns nil.
func (s *Store) Commit(ctx context.Context, b *batcher.Batch) error {
	r := s.registered.Load()
	if r == nil {
		return s.fail("commit batch", errNotRegistered)
	}
	err := s.commit(ctx, r, b)
	if err == nil {
		return nil
	}
	return s.fail(fmt.Sprintf("commit partition %d from %d to %d", b.Partition, b.After, b.Last()), err)
}

func (s *Store) commit(ctx context.Context, r *registration, b *batcher.Batch) (err error) {
	conn, err := s.writers.Conn(ctx)
	if err != nil {
		return fmt.Errorf("get connection: %w", err)
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	defer func() {
		if err != nil {
			undo(ctx, conn, err)
		}
	}()
	moved, err := s.fence(ctx, conn, r, b)
	if err != nil {
		return fmt.Errorf("move position: %w", err)
	}
	if !moved {
		if err := s.whyNot(ctx, conn, r, b); err != nil {
			return err
		}
		return end(ctx, conn, "ROLLBACK") // committed before; there is nothing to do
	}
	runless, err := s.runs.none(ctx, conn, r, b)
	if err != nil {
		return err
	}
	only, more := writers(b.Events)
	a := applier{conn: conn, packet: &s.packet, generation: r.generation, runless: runless[0], naming: more}
	outcomes, err := a.apply(ctx, b.Events)
	if err == nil {
		err = s.refuse(ctx, &a, b.Events, outcomes)
	}
	if err != nil {
		if only != nil && len(b.Events) > 1 && ofValue(err) {
			return blame(map[*wire.Event]error{only: err}, err) // it needs no search
		}
		return err
	}
	if err := end(ctx, conn, "COMMIT"); err != nil {
		return err
	}
	s.runs.committed(r, b, a.runless)
	return nil
}

// refuse is the error of a batch with stale events, nil when there are none. An event that begins a newer attempt by what it writes may be
// refused by the database: then it begins nothing, and those behind it are not stale. So the others are tried first; the transaction is
// rolled back in any case.
func (s *Store) refuse(ctx context.Context, a *applier, events []*wire.Event, outcomes []outcome) error {
	err := refusal(events, outcomes)
	if err == nil || !a.begunByWrite {
		return err
	}
	rest := slices.Clone(events)
	for i, ev := range rest {
		if outcomes[i].result == stale {
			passed := *ev // the batch's own stays as it is
			passed.Ops, passed.Poison = nil, &wire.Poison{Code: wire.CodeAttempt}
			rest[i] = &passed
		}
	}
	if _, refused := a.apply(ctx, rest); refused != nil {
		return refused
	}
	return err
}

// refusal is the error of a batch with stale events, nil when there are none.
func refusal(events []*wire.Event, outcomes []outcome) error {
	var refused map[uint64]wire.Poison
	for i := range events {
		o := outcomes[i]
		if o.result != stale {
			continue
		}
		if refused == nil {
			refused = map[uint64]wire.Poison{}
		}
		refused[events[i].Message.Sequence] = wire.Poison{
			Code: wire.CodeAttempt, Reason: fmt.Sprintf("event is of attempt %d of its run, and attempt %d has begun", events[i].Attempt, o.newest),
		}
	}
	if refused == nil {
		return nil
	}
	return &verdict{class: batcher.Refused, refused: refused, err: fmt.Errorf("%d events are of attempts that are over", len(refused))}
}

// fence begins the transaction and moves the position, if it may. The row stays locked until the transaction ends.
func (s *Store) fence(ctx context.Context, conn *sql.Conn, r *registration, b *batcher.Batch) (moved bool, err error) {
	q := make([]byte, 0, 512)
	q = append(q, "UPDATE persistd_partitions SET position="...)
	q = appendUint(q, b.Last())
	q = append(q, ", position_of="...)
	q = appendUint(q, b.Last())
	q = append(q, ", position_logged="...)
	q = appendPlaceTime(q, b.Events[len(b.Events)-1].Message.Logged)
	q = append(q, ", updated_at=UTC_TIMESTAMP(6), lease_until=UTC_TIMESTAMP(6)+INTERVAL "...)
	q = appendUint(q, uint64(s.config.Lease.Microseconds())) //nolint:gosec // validated: positive.
	q = append(q, " MICROSECOND WHERE "...)
	q = r.appendKey(q, b.Partition)
	q = append(q, " AND owner="...)
	q = appendString(q, s.config.Owner)
	q = append(q, " AND epoch="...)
	q = appendUint(q, b.Epoch)
	q = append(q, " AND position="...)
	q = appendUint(q, b.After)
	q = append(q, " AND generation="...)
	q = appendUint(q, uint64(r.generation))
	res, err := conn.ExecContext(ctx, string(q))
	if err != nil {
		return false, err //nolint:wrapcheck // the caller does.
	}
	n, err := res.RowsAffected() // rows changed: Last is greater than After, so a match is a change
	return n == 1, err           //nolint:wrapcheck // never fails with this driver.
}

// whyNot says why the fence did not hold; nil when the batch is committed already.
func (s *Store) whyNot(ctx context.Context, conn *sql.Conn, r *registration, b *batcher.Batch) error {
	var (
		owner           string
		epoch, position uint64
		generation      uint32
	)
	q := "SELECT owner, epoch, position, generation FROM persistd_partitions WHERE " + string(r.appendKey(nil, b.Partition))
	err := conn.QueryRowContext(ctx, q).Scan(&owner, &epoch, &position, &generation)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return &verdict{class: batcher.Lost, err: errors.New("partition has no row any more: database was restored or edited")}
	case err != nil:
		return fmt.Errorf("read partition: %w", err)
	case owner != s.config.Owner || epoch != b.Epoch || generation != r.generation:
		return &verdict{class: batcher.Lost, err: fmt.Errorf("partition belongs to %q in epoch %d, not to %q in epoch %d",
			owner, epoch, s.config.Owner, b.Epoch)}
	case position != b.Last():
		return &verdict{class: batcher.Moved, err: fmt.Errorf("partition is at %d, not at %d", position, b.After)}
	}
	return nil
}

// undo leaves conn fit for the next transaction after err, or sees to it that there is none.
func undo(ctx context.Context, conn *sql.Conn, err error) {
	var (
		answer *mysql.MySQLError
		told   *verdict
	)
	if errors.As(err, &answer) || errors.As(err, &told) { // the connection is in step with the server
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWait)
		defer cancel()
		if end(ctx, conn, "ROLLBACK") == nil {
			return
		}
	}
	// The server rolls back what it finds open on a connection that ends.
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

const undoWait = 2 * time.Second

func end(ctx context.Context, conn *sql.Conn, how string) error {
	if _, err := conn.ExecContext(ctx, how); err != nil {
		return fmt.Errorf("%s: %w", strings.ToLower(how), err)
	}
	return nil
}
