package batcher

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/wire"
)

// Batch is consecutive events of one partition that commit together, or not at all.
type Batch struct {
	// Partition is the slice of the log that the events are from.
	Partition int
	// Epoch is the fence: the term of ownership that the batch is committed under (I3).
	Epoch uint64
	// After is the position that the batch continues from. The commit holds only if the partition is there (I2).
	After uint64
	// Events are the events, in log order. Those with Poison set are passed over: they have no ops, and a dead letter already. Who was given
	// a batch may look at them for as long as it likes, as one whose attempt was given up on may: nobody changes an event, or the slice.
	Events []*wire.Event
	// Rows counts the ops of the events; Bytes is the sum of the events' Size.
	Rows, Bytes int
}

// Last is the position once the batch is committed: the sequence of its last event.
func (b *Batch) Last() uint64 { return b.Events[len(b.Events)-1].Message.Sequence }

// Store commits batches. It is the only thing that moves a position.
type Store interface {
	// Commit writes the ops of b and moves its partition's position from b.After to b.Last() in one transaction. It blocks until
	// the outcome is known or ctx ends, and is idempotent: when an earlier call with this batch committed without the caller
	// learning of it, Commit finds the position at b.Last() under b.Epoch and returns nil. Every error is an *[Error].
	Commit(ctx context.Context, b *Batch) error
}

// DeadLetters keeps events that can never be applied (I7).
type DeadLetters interface {
	// Put returns nil once a dead letter of each event, with its Poison, is stored durably. It blocks until then or until ctx
	// ends, and is idempotent per event: doing it again after a crash keeps one letter.
	Put(ctx context.Context, events []*wire.Event) error
}

// Class says what a failed commit means for its batch. The store decides it, by the database's error number.
type Class uint8

const (
	// Again is a failure that passes by itself: a deadlock, a broken connection, a database that is away. Retried for ever.
	Again Class = iota
	// Operator is a failure that passes once somebody does something: a missing right, a missing table. Retried for ever, and
	// the replica is not ready meanwhile.
	Operator
	// Never is data that the database will never take, where the store cannot tell whose: the batch is halved until the event stands alone,
	// which is then poison.
	Never
	// Lost is the end of the term: another owner or epoch stands in the partition's row. Nothing was written (I3).
	Lost
	// Refused is events that the store names: what the database will never take of them is shown to be theirs; or its state forbids them, as
	// writes of an older attempt than their run's. Nothing was written; they become poison ([Error].Refused says why), and the rest of the
	// batch is committed anew. One that names no event of the batch, or only poison, is retried as Again is.
	Refused
	// Moved is a position that is not the batch's After although the term is ours: the database was restored, or edited. The
	// partition is read again from where it is (I2).
	Moved
)

// String is the class as it stands in metrics and logs.
func (c Class) String() string {
	switch c {
	case Again:
		return "again"
	case Operator:
		return "operator"
	case Never:
		return "never"
	case Lost:
		return "lost"
	case Refused:
		return "refused"
	case Moved:
		return "moved"
	default:
		return fmt.Sprintf("class(%d)", uint8(c))
	}
}

// Error is a failed commit, classified.
type Error struct {
	Class Class
	// Number is the database's error number; 0 when the error did not come from the database.
	Number uint16
	// Refused are the refused events of a batch by sequence, with the reason; only of [Refused]. The others of the batch may still
	// be refused by the next attempt: it is best to name all at once, as each round costs a transaction.
	Refused map[uint64]wire.Poison
	// Hint says what the operator can do; empty when there is nothing to do.
	Hint string
	Err  error
}

// Error is the cause and, where there is one, the hint.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + " (" + e.Hint + ")"
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }
