package langgraphgo

import (
	"context"
	"errors"
	"sync"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/pkg/client"
)

// ContextWithStoreError returns a ctx that remembers the first error which a store of this package returned to a call with it, or with
// a ctx derived from it. Make one for each run of an engine.
func ContextWithStoreError(ctx context.Context) context.Context {
	return context.WithValue(ctx, failureKey{}, &failure{})
}

// StoreError is what ctx, of [ContextWithStoreError], remembers: nil when every call was answered. That there is nothing to load, or that a
// checkpoint was saved before, is an answer.
//
// Of a failed store the engine says "failed to save step: …" without wrapping the error; and a concurrent run whose checkpoint could not be
// saved returns without an error. Here it is, for errors.Is: with client.ErrStaleAttempt another worker has the run, and this one should stop.
func StoreError(ctx context.Context) error {
	f, ok := ctx.Value(failureKey{}).(*failure)
	if !ok {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

type failureKey struct{}

type failure struct {
	mu  sync.Mutex
	err error // the first
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

// told is err as LangGraph-Go knows it; ctx remembers it when it is no answer.
func told(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, client.ErrNotFound):
		return store.ErrNotFound // itself: the documentation compares with ==
	case errors.Is(err, graph.ErrIdempotencyViolation):
		return err
	}
	if f, ok := ctx.Value(failureKey{}).(*failure); ok {
		f.set(err)
	}
	return err
}
