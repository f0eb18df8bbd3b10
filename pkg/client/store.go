package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// store is the typed edge: it checks ids and steps, encodes states and decodes them, and keeps the attempts that it began. All else is
// the backend's.
type store[S any] struct {
	backend    backend
	codec      Codec
	durability Durability
	attempt    int // of the store, 0 for none
	maxDepth   int
	timeout    time.Duration
	eventLease time.Duration
	holder     string // of leased events
	invalid    error  // is what every call fails with, of a store that was made with wrong options
	closed     atomic.Bool

	mu    sync.Mutex        // guards begun; nothing blocks while it is held
	begun map[string]uint32 // the attempts that this store began, by run
}

var _ Store[any] = (*store[any])(nil)

func newStore[S any](b backend, cfg config) *store[S] {
	return &store[S]{
		backend: b, codec: cfg.codec, durability: cfg.durability, attempt: cfg.attempt, maxDepth: cfg.maxDepth, timeout: cfg.timeout,
		eventLease: cfg.eventLease, holder: rand.Text(), begun: map[string]uint32{},
	}
}

// enter begins a call: it says why there can be none, and gives ctx the default deadline when it has none.
func (s *store[S]) enter(ctx context.Context) (context.Context, context.CancelFunc, error) {
	err := s.usable()
	if err == nil {
		err = ctx.Err()
	}
	if _, ok := ctx.Deadline(); ok || err != nil {
		return ctx, func() {}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	return ctx, cancel, nil
}

func (s *store[S]) usable() error {
	if s.closed.Load() {
		return ErrClosed
	}
	return s.invalid
}

func (s *store[S]) SaveStep(ctx context.Context, runID string, step int, nodeID string, state S) error {
	b := s.builder()
	if err := b.SaveStep(runID, step, nodeID, state); err != nil {
		return newError(opSaveStep, runID, step, err)
	}
	return wrapError(opSaveStep, runID, step, s.commit(ctx, b))
}

func (s *store[S]) SaveStepBatch(ctx context.Context, runID string, steps []Step[S]) error {
	b := s.builder()
	if err := checkRun(runID); err != nil {
		return newError(opSaveBatch, runID, 0, err)
	}
	for i := range steps {
		if err := b.SaveStep(runID, steps[i].Step, steps[i].NodeID, steps[i].State); err != nil {
			return newError(opSaveBatch, runID, 0, fmt.Errorf("step %d: %w", steps[i].Step, err))
		}
	}
	return wrapError(opSaveBatch, runID, 0, s.commit(ctx, b))
}

func (s *store[S]) LoadLatest(ctx context.Context, runID string) (state S, step int, err error) {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = checkRun(runID)
	}
	var latest *wire.StepRecord
	if err == nil {
		latest, err = s.backend.latest(ctx, runID)
	}
	if err == nil && latest == nil {
		err = ErrNotFound
	}
	if err != nil {
		return state, 0, newError(opLoadLatest, runID, 0, err)
	}
	state, err = decode[S](s.codec, Binding{KindStep, runID, int(latest.Step)}, latest.State)
	if err != nil {
		return state, 0, newError(opLoadLatest, runID, 0, err)
	}
	return state, int(latest.Step), nil
}

func (s *store[S]) SaveCheckpoint(ctx context.Context, id string, state S, step int) error {
	b := s.builder()
	if err := b.SaveCheckpoint(id, state, step); err != nil {
		return newCheckpointError(opSaveCheckpoint, id, err)
	}
	if err := s.commit(ctx, b); err != nil {
		return newCheckpointError(opSaveCheckpoint, id, err)
	}
	return nil
}

func (s *store[S]) LoadCheckpoint(ctx context.Context, id string) (state S, step int, err error) {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = checkCheckpoint(id)
	}
	var found *wire.CheckpointRecord
	if err == nil {
		found, err = s.backend.checkpoint(ctx, id)
	}
	if err == nil && found == nil {
		err = ErrNotFound
	}
	if err != nil {
		return state, 0, newCheckpointError(opLoadCheckpoint, id, err)
	}
	state, err = decode[S](s.codec, Binding{Kind: KindCheckpoint, ID: id}, found.State)
	if err != nil {
		return state, 0, newCheckpointError(opLoadCheckpoint, id, err)
	}
	return state, int(found.Step), nil
}

func (s *store[S]) Flush(ctx context.Context) error {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = s.backend.flush(ctx)
	}
	return wrapError(opFlush, "", 0, err)
}

func (s *store[S]) Ping(ctx context.Context) error {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = s.backend.ping(ctx)
	}
	return wrapError(opPing, "", 0, err)
}

func (s *store[S]) Close() error {
	s.closed.Store(true)
	return wrapError(opClose, "", 0, s.backend.close())
}

func checkRun(runID string) error {
	if err := wire.CheckID(runID); err != nil {
		return &fault{kind: ErrInvalidID, err: fmt.Errorf("run %w", err)}
	}
	return nil
}

func checkCheckpoint(id string) error {
	if err := wire.CheckID(id); err != nil {
		return &fault{kind: ErrInvalidID, err: fmt.Errorf("checkpoint %w", err)}
	}
	return nil
}

// decode decodes what was stored at b. Nothing of it is returned unless all of it could be.
func decode[T any](codec Codec, b Binding, data []byte) (T, error) {
	var loaded, nothing T
	if err := codec.Decode(b, data, &loaded); err != nil {
		return nothing, decodeFault(codec, b, nothing, err)
	}
	return loaded, nil
}

// decodeFault is why what was saved does not fit the type. It says where, but not what the state holds there.
func decodeFault(codec Codec, b Binding, into any, err error) error {
	f := &fault{kind: ErrInvalidState}
	if _, plain := codec.(JSON); plain { // another codec's errors say themselves what to do
		f.hint = hintType
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		f.err = fmt.Errorf("decode %s %d into %T: member %q, at byte %d, is no %s", b.Kind, b.Step, into, wrong.Field, wrong.Offset, wrong.Type)
		f.hint = hintType
		return f
	}
	if wrong, ok := errors.AsType[*time.ParseError](err); ok {
		err = fmt.Errorf("a time is not of the form %q", wrong.Layout)
	}
	f.err = fmt.Errorf("decode %s %d into %T: %w", b.Kind, b.Step, into, err)
	return f
}

const hintType = "the run was saved with another type: open the store with a type that its states fit"
