package client

import (
	"context"

	"github.com/persistd/persistd/internal/wire"
)

// backend is a store without its type: states are JSON, and what is written together is one write. Ids, steps and states were checked by
// the typed store in front of it, whose calls all have a deadline. Errors are faults, sentinels, or the ctx's.
//
//	Store[S] ── store[S]: types, codec, checks, attempts ──▶ backend ─┬─ engine   the log, and persistd's answers
//	                                                                  ├─ direct   MySQL
//	                                                                  └─ memory   maps
type backend interface {
	// apply makes what w holds, all or nothing, as durable as it asks for.
	apply(ctx context.Context, w *write) error
	// begin begins the next attempt of a run and returns its number.
	begin(ctx context.Context, runID string) (uint32, error)
	reader
	outbox
	// flush waits until what was queued is settled; ping asks whether the store would work; close ends it, once.
	flush(ctx context.Context) error
	ping(ctx context.Context) error
	close() error
}

// reader answers reads with every write in them that was acknowledged before. What there is none of is nil, or an empty page.
type reader interface {
	latest(ctx context.Context, runID string) (*wire.StepRecord, error)
	checkpoint(ctx context.Context, id string) (*wire.CheckpointRecord, error)
	checkpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error)
	checkpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error)
	steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error)
	// watch waits for what it is asked for as long as the request says, which may be shorter than ctx.
	watch(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error)
	runs(ctx context.Context, q wire.RunsRequest) (wire.RunsReply, error)
	used(ctx context.Context, key string) (bool, error)
}

// outbox is the committed outbox events.
type outbox interface {
	claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error)
	markEmitted(ctx context.Context, ids []string) error
}

// write is what one call writes, all or nothing.
type write struct {
	// kind and id are the key that it is written under: a run, or a named checkpoint.
	kind, id string
	// attempt is the run's attempt that writes, 0 when it was not said.
	attempt uint32
	ops     []wire.Op
	// hash tells whether two writes with the same idempotency key say the same; set when there is a key.
	hash [32]byte
	// step is for errors that come after the call: the step of a single one.
	step int
	// durability is Async, Logged or Committed.
	durability Durability
}

// keys are the idempotency keys of w.
func (w *write) keys() []string {
	ev := wire.Event{Ops: w.ops}
	return ev.Keys()
}

// awaited reports whether w's call returns only when its outcome is known, which is when it is committed.
func (w *write) awaited() bool { return w.durability == Committed || w.told() }

// told reports whether the outcome of w is only known once it is committed: what the log's tail cannot answer for.
func (w *write) told() bool {
	for i := range w.ops {
		switch op := &w.ops[i]; op.Type {
		case wire.OpCheckpointV2, wire.OpDeleteRun:
			return true
		case wire.OpCheckpoint:
			if w.kind != wire.KindCheckpoint || op.ID != w.id {
				return true
			}
		}
	}
	return false
}
