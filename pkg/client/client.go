package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Store saves and loads the states of workflow runs. S is the state, anything that encoding/json can marshal and unmarshal. All
// methods may be called concurrently. Every error is an [*Error] and matches one of the sentinels, or the ctx's error, with
// errors.Is.
type Store[S any] interface {
	// SaveStep saves the state of run after its step-th step, which the node executed. It returns when the step is as durable as
	// asked for (see [Durability]), and blocks while the client is full. The state is marshalled before it returns and may be
	// changed afterwards.
	//
	// The run id has 1 to 255 characters of valid UTF-8 and no trailing space; the node id at most 255; the step fits 32 bits;
	// the state is valid JSON, nested at most 31 deep ([WithMaxDepth]), and fits one message ([ErrTooLarge] names the limit).
	// Saving a step of a run again replaces it.
	SaveStep(ctx context.Context, runID string, step int, nodeID string, state S) error

	// LoadLatest returns the state and number of the run's highest step, or [ErrNotFound]. It sees every step that was
	// acknowledged to any worker before the call, committed to MySQL or not. Steps that this client still has queued for the run
	// are waited for first, so a worker reads what it wrote in every durability; one that could not be logged is not in
	// the answer, and its error is reported by Flush.
	LoadLatest(ctx context.Context, runID string) (state S, step int, err error)

	// Flush waits until everything that was queued before the call is logged or given up, and returns, joined, the errors of
	// [Async] steps since the last Flush. When ctx ends first, the error says how many steps are still queued; they stay queued.
	Flush(ctx context.Context) error

	// Ping checks, without retrying, that NATS answers, that a stream listens where this client publishes (nothing is stored),
	// and that a persistd replica answers reads. The error says which of the three did not.
	Ping(ctx context.Context) error

	// Close stops taking calls, flushes for at most [WithCloseTimeout], and closes the connection that Open made. The error
	// joins what Flush would return with the number of steps that were not acknowledged. It is idempotent: a later call
	// returns the same. All other methods return [ErrClosed] from then on.
	Close() error
}

// Open connects to the NATS servers at natsURL (comma-separated for several) and returns a store. It fails with [ErrUnavailable] when
// no server can be reached within ctx (5 s a server at most), with [ErrPermission] when the server refuses the user, and with
// [ErrInvalidOption], naming everything that is wrong, when the options do. Neither a stream nor a persistd is needed to open.
func Open[S any](ctx context.Context, natsURL string, opts ...Option) (Store[S], error) {
	cfg, err := newConfig(natsURL, opts)
	if err != nil {
		return nil, newError(opOpen, "", 0, err)
	}
	e, err := openEngine(ctx, natsURL, cfg)
	if err != nil {
		return nil, newError(opOpen, "", 0, err)
	}
	return &store[S]{engine: e}, nil
}

// store is the generic edge: it turns states into JSON and back, everything else is the engine's.
type store[S any] struct {
	engine *engine
}

var _ Store[any] = (*store[any])(nil)

func (s *store[S]) SaveStep(ctx context.Context, runID string, step int, nodeID string, state S) error {
	raw, err := json.Marshal(state)
	if err != nil {
		return newError(opSaveStep, runID, step, &fault{kind: ErrInvalidState, err: fmt.Errorf("marshal %T: %w", state, err)})
	}
	if err := s.engine.saveStep(ctx, runID, step, nodeID, raw); err != nil {
		return newError(opSaveStep, runID, step, err)
	}
	return nil
}

func (s *store[S]) LoadLatest(ctx context.Context, runID string) (state S, step int, err error) {
	latest, err := s.engine.loadLatest(ctx, runID)
	if err != nil {
		return state, 0, newError(opLoadLatest, runID, 0, err)
	}
	var loaded S
	if err := json.Unmarshal(latest.State, &loaded); err != nil {
		return state, 0, newError(opLoadLatest, runID, 0, decodeFault(int(latest.Step), state, err))
	}
	return loaded, int(latest.Step), nil
}

func (s *store[S]) Flush(ctx context.Context) error {
	if err := s.engine.flush(ctx); err != nil {
		return newError(opFlush, "", 0, err)
	}
	return nil
}

func (s *store[S]) Ping(ctx context.Context) error {
	if err := s.engine.ping(ctx); err != nil {
		return newError(opPing, "", 0, err)
	}
	return nil
}

func (s *store[S]) Close() error {
	if err := s.engine.close(); err != nil {
		return newError(opClose, "", 0, err)
	}
	return nil
}

// decodeFault is why a saved state does not fit S. It says where, but not what the state holds there.
func decodeFault(step int, into any, err error) error {
	f := &fault{kind: ErrInvalidState, hint: "the run was saved with another type: open the store with a type that its states fit"}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		f.err = fmt.Errorf("unmarshal step %d into %T: member %q, at byte %d, is no %s", step, into, wrong.Field, wrong.Offset, wrong.Type)
		return f
	}
	f.err = fmt.Errorf("unmarshal step %d into %T: %w", step, into, err)
	return f
}
