package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// Errors of [Store.Retry], which change nothing.
var (
	// ErrNotPassed says that the partition has yet to come to the event: its owner will apply it, or find again that it cannot.
	ErrNotPassed = errors.New("partition has not passed the event yet")
	// ErrUnknownLog says that the database knows nothing of the log that the event is from.
	ErrUnknownLog = errors.New("log is not registered in this database")
	// ErrUntold says that nobody can know whether the event was a duplicate: of its idempotency keys none is there, and those of its age are
	// removed.
	ErrUntold = errors.New("its idempotency keys may have been used, and removed for their age since")
)

// Retried is what became of an event that was applied again.
type Retried string

// The ways in which a retry succeeds.
const (
	// RetriedApplied is written, as far as nothing newer stands there.
	RetriedApplied Retried = "applied"
	// RetriedSame was used up by an event with the same idempotency key and content: what it says is there.
	RetriedSame Retried = "there already"
	// RetriedDeleted is from before its run was deleted: there is nothing to write.
	RetriedDeleted Retried = "run was deleted after it"
)

// Retry applies an event that the position of its partition has passed without it, a dead letter, in a transaction of its own.
//
//	I4: it is applied at its place in the log, not as something new: what is newer stays, what nobody has overwritten appears.
//	I5: all of it, or nothing.
//	I2, I3: the position is not touched. The partition's row is locked, so the owner's commits come before or after it.
//
// log.Partitions need not be known. It is idempotent. The error is a *[batcher.Error]; of class Refused it has the reason for ev's sequence: an
// attempt that is over, or a key that was used with other content. It may wrap [ErrNotPassed], [ErrUnknownLog] or [ErrUntold].
//
// keysKept is for how long idempotency keys are kept, 0 for ever: an event that was logged longer ago applies only by a key that tells that it may.
//
// Where the event is the first of its run to begin an attempt or to delete it, the owner's term ends, and the next begins at once: the owner
// remembers which of its runs have neither (see runless).
func (s *Store) Retry(ctx context.Context, log Log, partition int, ev *wire.Event, keysKept time.Duration) (what Retried, err error) {
	untold := keysKept > 0 && time.Since(ev.Message.Logged) > keysKept
	log.Created = log.Created.UTC().Truncate(time.Microsecond)
	err = retry(ctx, func() error {
		what, err = s.retry(ctx, &registration{log: log}, partition, ev, untold)
		return err
	})
	return what, s.fail(fmt.Sprintf("apply event %d of partition %d again", ev.Message.Sequence, partition), err)
}

func (s *Store) retry(ctx context.Context, r *registration, partition int, ev *wire.Event, keepUntold bool) (what Retried, err error) {
	conn, err := s.writers.Conn(ctx)
	if err != nil {
		return "", fmt.Errorf("get connection: %w", err)
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	defer func() {
		if err != nil {
			undo(ctx, conn, err)
		}
	}()
	where := " WHERE " + string(r.appendKey(nil, partition))
	var position uint64
	err = conn.QueryRowContext(ctx, "SELECT generation, position FROM persistd_partitions"+where+" FOR UPDATE").Scan(&r.generation, &position)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", &verdict{class: batcher.Operator, err: ErrUnknownLog, hint: "give the data source name of the database that this log is applied to"}
	case err != nil:
		return "", fmt.Errorf("lock partition: %w", err)
	case position < ev.Message.Sequence:
		return "", &verdict{class: batcher.Again, err: fmt.Errorf("%w: it is at %d", ErrNotPassed, position), hint: "wait for persistd, which tries it by itself"}
	}
	a := applier{conn: conn, packet: &s.packet, generation: r.generation, keepUntold: keepUntold}
	if err := a.overtaken(ctx, ev); err != nil {
		return "", err
	}
	events := []*wire.Event{ev}
	outcomes, err := a.apply(ctx, events)
	if err == nil {
		err = refusal(events, outcomes)
	}
	if err != nil {
		return "", err
	}
	switch outcomes[0].result {
	case duplicate:
		return "", refusedFor(ev, wire.RejectedDuplicate, "an idempotency key was used before, with other content")
	case untold:
		return "", &verdict{class: batcher.Operator, err: ErrUntold, hint: "if it was no duplicate, apply it all the same"}
	case same:
		what = RetriedSame
	case deleted:
		what = RetriedDeleted
	case applied, stale:
		what = RetriedApplied
	}
	if a.made {
		if _, err := conn.ExecContext(ctx, "UPDATE persistd_partitions SET epoch=epoch+1, owner='', lease_until=UTC_TIMESTAMP(6)"+where); err != nil {
			return "", fmt.Errorf("end the owner's term: %w", err)
		}
	}
	return what, end(ctx, conn, "COMMIT")
}

// overtaken refuses an event that would begin an attempt although the run was written since, by an older attempt or by none: had the event been
// applied in its turn, those writes would have been refused. Now they stand, and their state would no longer be the run's.
func (a *applier) overtaken(ctx context.Context, ev *wire.Event) error {
	if ev.Attempt == 0 {
		return nil
	}
	var newer bool
	err := a.conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM workflow_steps WHERE run_id=? AND attempt<? AND (log_gen,log_seq)>(?,?))",
		ev.RunID, ev.Attempt, a.generation, ev.Message.Sequence).Scan(&newer)
	switch {
	case err != nil:
		return fmt.Errorf("look for newer steps: %w", err)
	case newer:
		return refusedFor(ev, wire.CodeAttempt, fmt.Sprintf("the run has steps of older attempts than %d that are newer than this event", ev.Attempt))
	}
	return nil
}

func refusedFor(ev *wire.Event, code, reason string) error {
	return &verdict{
		class: batcher.Refused, err: errors.New(reason),
		refused: map[uint64]wire.Poison{ev.Message.Sequence: {Code: code, Reason: reason}},
	}
}
