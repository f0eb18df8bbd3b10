package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/wire"
)

// direct is the store without its type in MySQL alone.
type direct struct {
	db           *mysqlstore.Direct
	calls        calls
	closeTimeout time.Duration

	closing  sync.Once
	closeErr error // set by closing
}

var _ backend = (*direct)(nil)

func newDirect(db *mysqlstore.Direct, cfg config) *direct {
	return &direct{db: db, closeTimeout: cfg.closeTimeout}
}

// call does f unless d is closed, and says in this package's words why it could not.
func call[R any](ctx context.Context, d *direct, f func(ctx context.Context) (R, error)) (R, error) {
	return callThat(ctx, d, false, f)
}

// callThat is call of what may wait for news, if waits is set, which closing does not wait for.
func callThat[R any](ctx context.Context, d *direct, waits bool, f func(ctx context.Context) (R, error)) (R, error) {
	inner, leave, err := d.calls.enter(ctx, waits)
	if err != nil {
		var none R
		return none, err
	}
	defer leave()
	r, err := f(inner)
	switch {
	case err == nil:
		return r, nil
	case errors.Is(context.Cause(inner), ErrClosed):
		return r, &fault{kind: ErrClosed, err: directFault(err, nil)}
	}
	fault := directFault(err, ctx.Err())
	if stats := d.db.Stats(); ctx.Err() != nil && stats.MaxOpenConnections > 0 && stats.InUse >= stats.MaxOpenConnections {
		fault.hint = hintPool
	}
	return r, fault
}

// apply commits w. Durability says nothing here.
func (d *direct) apply(ctx context.Context, w *write) error {
	ev := wire.Event{Namespace: wire.DefaultNamespace, Kind: w.kind, Attempt: w.attempt, Ops: w.ops, ContentHash: w.hash}
	if w.kind == wire.KindRun {
		ev.RunID = w.id
	}
	for i := range ev.Ops {
		op := &ev.Ops[i]
		ev.Size += len(op.State)
		if op.V2 != nil {
			ev.Size += len(op.V2.Frontier) + len(op.V2.RecordedIOs)
		}
	}
	if ev.Size > wire.MaxTransaction {
		return &fault{kind: ErrTooLarge, err: fmt.Errorf("transaction has %d bytes, more than %d", ev.Size, wire.MaxTransaction), hint: "split it"}
	}
	_, err := call(ctx, d, func(ctx context.Context) (struct{}, error) { return struct{}{}, d.db.Apply(ctx, &ev) })
	return err
}

func (d *direct) begin(ctx context.Context, runID string) (uint32, error) {
	return call(ctx, d, func(ctx context.Context) (uint32, error) { return d.db.BeginAttempt(ctx, runID) })
}

func (d *direct) latest(ctx context.Context, runID string) (*wire.StepRecord, error) {
	return call(ctx, d, func(ctx context.Context) (*wire.StepRecord, error) { return d.db.Latest(ctx, runID) })
}

func (d *direct) checkpoint(ctx context.Context, id string) (*wire.CheckpointRecord, error) {
	return call(ctx, d, func(ctx context.Context) (*wire.CheckpointRecord, error) { return d.db.Checkpoint(ctx, id) })
}

func (d *direct) checkpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error) {
	return call(ctx, d, func(ctx context.Context) (*wire.V2Record, error) { return d.db.CheckpointV2(ctx, q) })
}

func (d *direct) checkpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error) {
	return call(ctx, d, func(ctx context.Context) (wire.V2ListReply, error) { return d.db.CheckpointsV2(ctx, q) })
}

func (d *direct) steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	return call(ctx, d, func(ctx context.Context) (wire.StepsReply, error) { return d.db.Steps(ctx, q) })
}

func (d *direct) watch(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error) {
	if deadline, ok := ctx.Deadline(); ok { // that of a store with a short timeout: no news is no error
		q.WaitMS = min(q.WaitMS, time.Until(deadline).Milliseconds()/2)
	}
	return callThat(ctx, d, true, func(ctx context.Context) (wire.WatchReply, error) { return d.db.Watch(ctx, q) })
}

func (d *direct) runs(ctx context.Context, q wire.RunsRequest) (wire.RunsReply, error) {
	return call(ctx, d, func(ctx context.Context) (wire.RunsReply, error) { return d.db.Runs(ctx, q) })
}

func (d *direct) used(ctx context.Context, key string) (bool, error) {
	return call(ctx, d, func(ctx context.Context) (bool, error) {
		found, err := d.db.Keys(ctx, []string{key})
		return len(found) > 0, err
	})
}

func (d *direct) claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error) {
	return call(ctx, d, func(ctx context.Context) ([]wire.OutboxRecord, error) { return d.db.Claim(ctx, q) })
}

func (d *direct) markEmitted(ctx context.Context, ids []string) error {
	_, err := call(ctx, d, func(ctx context.Context) (int64, error) { return d.db.MarkEmitted(ctx, ids) })
	return err
}

// flush has nothing to wait for.
func (d *direct) flush(ctx context.Context) error {
	_, err := call(ctx, d, func(context.Context) (struct{}, error) { return struct{}{}, nil })
	return err
}

func (d *direct) ping(ctx context.Context) error {
	_, err := call(ctx, d, func(ctx context.Context) (struct{}, error) { return struct{}{}, d.db.Ping(ctx) })
	return err
}

func (d *direct) close() error {
	d.closing.Do(func() { d.closeErr = errors.Join(d.calls.close(d.closeTimeout), d.db.Close()) })
	return d.closeErr
}

const (
	hintMySQL   = "is the database running and reachable from here?"
	hintPool    = "all connections were in use: allow more of them with WithPool, or fewer calls at once"
	hintUnknown = "it may have been saved: saving it again is safe"
	hintPacket  = "keep large data elsewhere and its reference in the state, or raise max_allowed_packet in the database's configuration"
	hintSchema  = "leave WithMigration on, or run persistd migrate, under a user that may change tables"
)

// directFault is an error of mysqlstore in this package's words, with that of the ctx if it ended.
func directFault(err, ended error) *fault {
	var e *batcher.Error
	switch {
	case errors.Is(err, mysqlstore.ErrDuplicate):
		return &fault{kind: ErrDuplicate}
	case errors.Is(err, mysqlstore.ErrStale):
		return &fault{kind: ErrStaleAttempt}
	case !errors.As(err, &e):
		e = &batcher.Error{Err: err}
	}
	f := &fault{kind: ErrUnavailable, err: e.Err, hint: e.Hint}
	if ended != nil && !errors.Is(err, ended) {
		f.err = fmt.Errorf("%w: %w", e.Err, ended)
	}
	switch {
	case errors.Is(err, mysqlstore.ErrUnknown):
		f.kind, f.hint = ErrOutcomeUnknown, hintUnknown
	case mysqlstore.Denied(e):
		f.kind = ErrPermission
	case errors.Is(err, mysqlstore.ErrSchemaPending):
		f.hint = hintSchema
	case mysqlstore.TooLarge(e):
		f.kind, f.hint = ErrTooLarge, hintPacket
	case e.Class == batcher.Never:
		f.kind = ErrRejected
	case e.Class == batcher.Again && f.hint == "" && e.Number == 0 && !errors.Is(f.err, context.Canceled):
		f.hint = hintMySQL
	}
	return f
}
