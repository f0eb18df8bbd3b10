package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

func (s *store[S]) WithTransaction(ctx context.Context, fn func(tx Tx[S]) error) error {
	if err := s.usable(); err != nil {
		return newError(opTransaction, "", 0, err)
	}
	b := s.builder()
	b.keyed = true
	if err := collect(b, fn); err != nil {
		if b.err != nil && !errors.Is(err, b.err) {
			err = fmt.Errorf("%w: %w", err, b.err)
		}
		return newError(opTransaction, b.runID, 0, err)
	}
	return wrapError(opTransaction, b.runID, 0, s.commit(ctx, b))
}

// collect has fn fill b, which is nobody else's again when it returns, or panics.
func collect[S any](b *builder[S], fn func(tx Tx[S]) error) error {
	t := &tx[S]{to: b}
	defer t.end()
	return fn(t)
}

// commit applies what b holds, unless a part of it can never be.
func (s *store[S]) commit(ctx context.Context, b *builder[S]) error {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err != nil {
		return err
	}
	w, err := b.write()
	if err != nil || len(w.ops) == 0 {
		return err
	}
	w.durability = s.durability
	if d, ok := ctx.Value(durabilityKey{}).(Durability); ok {
		w.durability = d
	}
	if !w.durability.valid() {
		return &fault{kind: ErrInvalidOption, err: fmt.Errorf("durability of the call is %s, not Async, Logged or Committed", w.durability)}
	}
	if w.attempt, err = s.attemptOf(ctx, w); err != nil {
		return err
	}
	return s.backend.apply(ctx, w)
}

// builder makes a write of what is given to it: it checks and encodes.
type builder[S any] struct {
	codec    Codec
	maxDepth int

	runID string // of the first op that has one
	ops   []wire.Op
	size  int // of their states and the like, in bytes
	// keyed is set when there may be an idempotency key, so that the content hash is needed. plain are the ops as it takes them: with
	// fingerprints in the stead of encodings that differ each time.
	keyed bool
	plain []wire.Op
	err   error // the first one
}

func (s *store[S]) builder() *builder[S] { return &builder[S]{codec: s.codec, maxDepth: s.maxDepth} }

// write is all that was collected, or the first error.
func (b *builder[S]) write() (*write, error) {
	w := &write{kind: wire.KindRun, id: b.runID, ops: b.ops}
	switch {
	case b.err != nil:
		return nil, b.err
	case len(b.ops) == 0:
		return w, nil
	case b.runID == "": // named checkpoints alone, or events that say no run
		for i := range b.ops {
			if b.ops[i].Type != wire.OpCheckpoint {
				return nil, &fault{kind: ErrInvalidID, err: errors.New("events have no run id, and the transaction writes no run")}
			}
		}
		w.kind, w.id = wire.KindCheckpoint, b.ops[0].ID
	}
	b.nameEvents()
	if len(b.ops) == 1 {
		w.step = int(b.ops[0].Step)
	}
	if len(w.keys()) > 0 {
		w.hash = wire.HashContent(b.runID, b.plain)
	}
	return w, nil
}

// fail remembers the first error.
func (b *builder[S]) fail(err error) error {
	if b.err == nil {
		b.err = err
	}
	return err
}

// add adds an op, unless there are too many, or too much of them.
func (b *builder[S]) add(op, plain wire.Op) error {
	b.size += len(op.State)
	if op.V2 != nil {
		b.size += len(op.V2.Frontier) + len(op.V2.RecordedIOs)
	}
	switch {
	case len(b.ops) == wire.MaxOps:
		return b.fail(&fault{kind: ErrTooLarge, err: fmt.Errorf("transaction has more than %d writes", wire.MaxOps), hint: hintSplit})
	case b.size > wire.MaxTransaction:
		return b.fail(&fault{kind: ErrTooLarge, err: fmt.Errorf("transaction has more than %d bytes", wire.MaxTransaction), hint: hintSplit})
	}
	b.ops = append(b.ops, op)
	if b.keyed {
		b.plain = append(b.plain, plain)
	}
	return nil
}

const hintSplit = "split it"

// of takes the run that an op is of: the same for all.
func (b *builder[S]) of(runID string) error {
	if err := checkRun(runID); err != nil {
		return err
	}
	if b.runID != "" && b.runID != runID {
		return &fault{
			kind: ErrInvalidID, err: fmt.Errorf("run %.300q is not %.300q, which the transaction writes already", runID, b.runID),
			hint: "a transaction writes one run: make one of each",
		}
	}
	b.runID = runID
	return nil
}

func (b *builder[S]) SaveStep(runID string, step int, nodeID string, state S) error {
	op := wire.Op{Type: wire.OpStep, NodeID: nodeID}
	for _, check := range []error{b.of(runID), bad(wire.CheckNodeID(nodeID)), setStep(&op, step)} {
		if check != nil {
			return b.fail(check)
		}
	}
	plain := op
	var err error
	if op.State, plain.State, err = b.encode(Binding{KindStep, runID, step}, state); err != nil {
		return b.fail(err)
	}
	return b.add(op, plain)
}

func (b *builder[S]) SaveCheckpoint(id string, state S, step int) error {
	op := wire.Op{Type: wire.OpCheckpoint, ID: id}
	for _, check := range []error{checkCheckpoint(id), setStep(&op, step)} {
		if check != nil {
			return b.fail(check)
		}
	}
	plain := op
	var err error
	if op.State, plain.State, err = b.encode(Binding{Kind: KindCheckpoint, ID: id}, state); err != nil {
		return b.fail(err)
	}
	return b.add(op, plain)
}

func (b *builder[S]) SaveCheckpointV2(cp CheckpointV2[S], opts ...SaveOption) error {
	op := wire.Op{Type: wire.OpCheckpointV2}
	for _, check := range []error{b.of(cp.RunID), setStep(&op, cp.StepID), bad(wire.CheckLabel(cp.Label)), bad(wire.CheckKey(cp.IdempotencyKey))} {
		if check != nil {
			return b.fail(check)
		}
	}
	v2 := wire.V2{RNGSeed: cp.RNGSeed, Label: cp.Label, Key: cp.IdempotencyKey}
	var err error
	if v2.Timestamp, err = timestamp(cp.Timestamp); err != nil {
		return b.fail(err)
	}
	plain, plainV2 := op, v2
	if op.State, plain.State, err = b.encode(Binding{KindCheckpointV2, cp.RunID, cp.StepID}, cp.State); err != nil {
		return b.fail(err)
	}
	if v2.Frontier, plainV2.Frontier, err = b.encode(Binding{KindFrontier, cp.RunID, cp.StepID}, cp.Frontier); err != nil {
		return b.fail(err)
	}
	if v2.RecordedIOs, plainV2.RecordedIOs, err = b.encode(Binding{KindRecordedIOs, cp.RunID, cp.StepID}, cp.RecordedIOs); err != nil {
		return b.fail(err)
	}
	op.V2, plain.V2 = &v2, &plainV2
	if err := b.add(op, plain); err != nil {
		return err
	}
	var o saveOptions
	for _, opt := range opts {
		opt(&o)
	}
	return b.SaveEvents(o.events...)
}

// encode encodes v for its place, and once more, where that differs each time, for the content hash.
func (b *builder[S]) encode(at Binding, v any) (data, plain []byte, err error) {
	if data, err = b.codec.Encode(at, v); err != nil {
		return nil, nil, &fault{kind: ErrInvalidState, err: err}
	}
	if err := wire.CheckState(data, b.maxDepth); err != nil {
		return nil, nil, stateFault(err)
	}
	f, ok := b.codec.(Fingerprinter)
	if !ok || !b.keyed {
		return data, data, nil
	}
	if plain, err = f.Fingerprint(at, v); err != nil {
		return nil, nil, &fault{kind: ErrInvalidState, err: err}
	}
	return data, plain, nil
}

// timestamp is a checkpoint's time as it is kept.
func timestamp(t time.Time) (time.Time, error) {
	if t = t.UTC().Truncate(time.Microsecond); t.IsZero() {
		return time.Now().UTC().Truncate(time.Microsecond), nil
	}
	if y := t.Year(); y < 1 || y > 9999 {
		return t, &fault{kind: ErrInvalidState, err: fmt.Errorf("timestamp is of the year %d, not from 1 to 9999", y)}
	}
	return t, nil
}

func setStep(op *wire.Op, step int) error {
	if step < math.MinInt32 || step > math.MaxInt32 {
		return &fault{kind: ErrInvalidStep, err: fmt.Errorf("%d is not from %d to %d", step, math.MinInt32, math.MaxInt32)}
	}
	op.Step = int32(step)
	return nil
}

// bad is an id, a label or a key that cannot be stored; nil for nil.
func bad(err error) error {
	if err == nil {
		return nil
	}
	return &fault{kind: ErrInvalidID, err: err}
}
