package readpath

import (
	"context"

	"github.com/persistd/persistd/internal/wire"
)

// Rows reads MySQL for the reads that the tail completes. Each method reads, in one statement and so at one moment, the row and the
// position of partition. They may be called concurrently and block until answered or ctx ends.
type Rows interface {
	// Latest reads the run's step with the highest number among those of its newest attempt that has saved one; step is nil when the run
	// has no row. begun is the newest attempt that has begun, whether it saved a step or not; 0 when none has.
	Latest(ctx context.Context, partition int, runID string) (step *wire.StepRecord, begun uint32, position uint64, err error)
	// Checkpoint reads the named checkpoint; it is nil when there is none.
	Checkpoint(ctx context.Context, partition int, id string) (checkpoint *wire.CheckpointRecord, position uint64, err error)
	// Position reads the partition's position.
	Position(ctx context.Context, partition int) (uint64, error)
}

// History reads what is in MySQL. Its methods may be called concurrently and block until answered or ctx ends; their errors say what was
// read. A page ends where its
// limit is reached or its records have pageBytes, after one record at the earliest.
type History interface {
	// Steps reads a page of the run's steps from q.From on, by number.
	Steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error)
	// Changes reads a page of the run's steps from number from on that were written after the cursor, in the order of (generation, sequence,
	// step).
	Changes(ctx context.Context, runID string, from int32, after Cursor) ([]Change, error)
	// CheckpointV2 reads one V2 checkpoint, nil when there is none.
	CheckpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error)
	// CheckpointsV2 reads a page of a run's V2 checkpoints, by step.
	CheckpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error)
	// Runs reads a page of runs, by id.
	Runs(ctx context.Context, q wire.RunsRequest) (wire.RunsReply, error)
	// Attempt reads the newest attempt of the run that has begun, 0 when none has.
	Attempt(ctx context.Context, runID string) (uint32, error)
	// Keys reads those of the idempotency keys that were used.
	Keys(ctx context.Context, keys []string) ([]Key, error)
}

// Outbox is the committed outbox events. Its methods may be called concurrently and block until answered or ctx ends; their errors say what
// was done.
type Outbox interface {
	// Claim leases pending events; see [wire.EventsRequest].
	Claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error)
	// MarkEmitted marks events as emitted and returns how many were not yet. It is idempotent.
	MarkEmitted(ctx context.Context, ids []string) (int64, error)
}

// Cursor is a place in the order in which a run's steps were written.
type Cursor struct {
	Generation uint32
	Sequence   uint64
	Step       int32
}

// Change is a step and its place.
type Change struct {
	At   Cursor
	Step wire.StepRecord
}

// Key is an idempotency key that was used.
type Key struct {
	Key         string
	ContentHash [32]byte
	// Sequence is of the event that used it, 0 when that was not in the present stream.
	Sequence uint64
}

// Tail reads the log's end.
type Tail interface {
	// Tail shows visit the events of the key (a run's or a checkpoint's id, of kind) with a sequence above after, in log order, poison
	// ones included, each message on its own. Those before the last may be left out when that [Overwrites] them, or is [Chained] to them. It sees
	// every event that was acknowledged before the call, so it must be answered by the stream's leader, or be checked against it. An event may be
	// kept after visit returned. It blocks until all are shown or ctx ends.
	//
	// last is the sequence of the key's last event, which the log held at one moment during the call, 0 when it held none: whatever of the key
	// was acknowledged before the call is at or below it, or was trimmed after it was committed.
	Tail(ctx context.Context, partition int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (last uint64, err error)
	// Last is the sequence of the key's last event, 0 when the log holds none: every event of it that was acknowledged before the call is at
	// or below it, or was trimmed, and so is committed. It is answered by the stream's leader.
	Last(ctx context.Context, partition int, namespace, kind, id string) (uint64, error)
	// LastAttempt reads the last message that begins an attempt of the run: its sequence, and which attempt, 0 when it is poison; both are
	// 0 when the log holds none. Every beginning that was acknowledged before the call is at or below sequence, or was trimmed, and so
	// is committed. It is answered by the stream's leader.
	LastAttempt(ctx context.Context, partition int, namespace, runID string) (attempt uint32, sequence uint64, err error)
}
