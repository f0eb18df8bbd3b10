package mysqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// Apply applies ev in a transaction of its own: all of it or nothing (I5). What is needed of ev is its RunID, Attempt and Ops, and, with
// idempotency keys, its ContentHash; its times are the database's. An event whose keys were used with the same content is applied already,
// and a success. The error may wrap [ErrDuplicate] or [ErrStale], and then nothing changed; [ErrUnknown], and then to apply it again
// is safe; with any other, nothing changed.
func (d *Direct) Apply(ctx context.Context, ev *wire.Event) error {
	once := *ev
	once.Message = wire.Message{} // logged nowhere, at no time
	err := d.transact(ctx, func(ctx context.Context, conn *sql.Conn) error {
		a := applier{conn: conn, packet: &d.packet}
		outcomes, err := a.apply(ctx, []*wire.Event{&once})
		if err != nil {
			return err
		}
		switch o := outcomes[0]; o.result {
		case stale:
			return &verdict{class: batcher.Refused, err: fmt.Errorf("%w: %d, and the event is of %d", ErrStale, o.newest, ev.Attempt)}
		case duplicate:
			return &verdict{class: batcher.Refused, err: ErrDuplicate}
		case applied, same, deleted, untold:
		}
		return nil
	})
	return d.failed("apply event", err)
}

// BeginAttempt begins the run's next attempt and returns its number: nobody else is given it. After an error one may have begun that
// nobody knows of, which does no harm.
func (d *Direct) BeginAttempt(ctx context.Context, runID string) (attempt uint32, err error) {
	err = d.transact(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, "INSERT INTO persistd_runs (run_id, attempt, updated_at) VALUES (?, 1, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE"+
			" attempt=attempt+1, attempt_gen=0, attempt_seq=0, updated_at=UTC_TIMESTAMP(6)", runID)
		if err != nil {
			return fmt.Errorf("count attempt: %w", err)
		}
		return wrap("read attempt", conn.QueryRowContext(ctx, "SELECT attempt FROM persistd_runs WHERE run_id=?", runID).Scan(&attempt))
	})
	return attempt, d.failed("begin attempt", err)
}

// transact does what is to be done in one transaction: again, when others were in its way. Whatever fails before COMMIT was sent has
// written nothing.
func (d *Direct) transact(ctx context.Context, do func(ctx context.Context, conn *sql.Conn) error) error {
	return retry(ctx, func() error { return d.try(ctx, do) })
}

func (d *Direct) try(ctx context.Context, do func(ctx context.Context, conn *sql.Conn) error) (err error) {
	conn, err := d.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	defer func() {
		if err != nil {
			undo(ctx, conn, err)
		}
	}()
	if err := do(ctx, conn); err != nil {
		return err
	}
	if err := end(ctx, conn, "COMMIT"); err != nil {
		if inTheWay(err) { // of a cluster: what others committed was in the way, and this was rolled back
			return err
		}
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return nil
}

// begin takes a connection from the pool and begins a transaction on it. Connections that broke while they idled, all of them after a
// restart of the server, are noticed before anything is sent on them, and passed over.
func (d *Direct) begin(ctx context.Context) (*sql.Conn, error) {
	for left := maxBroken; ; left-- {
		conn, err := d.db.Conn(ctx)
		if err != nil {
			return nil, fmt.Errorf("get connection: %w", err)
		}
		err = end(ctx, conn, "START TRANSACTION")
		if err == nil {
			return conn, nil
		}
		undo(ctx, conn, err)
		_ = conn.Close() // it is dropped, or given back
		if left == 0 || !errors.Is(err, driver.ErrBadConn) {
			return nil, err
		}
	}
}

// maxBroken is more connections than anybody lets idle.
const maxBroken = 1000
