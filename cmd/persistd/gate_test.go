package main

import (
	"context"
	"sync"
	"testing"

	"github.com/persistd/persistd/internal/batcher"
)

// gate holds commits back until it is opened, or the test ends.
type gate struct {
	opened chan struct{}
	open   func()
}

func newGate(t *testing.T) *gate {
	g := &gate{opened: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	context.AfterFunc(t.Context(), g.open)
	return g
}

// hooks put the gate before the store.
func (g *gate) hooks() hooks {
	return hooks{store: func(s batcher.Store) batcher.Store {
		return storeFunc(func(ctx context.Context, b *batcher.Batch) error {
			select {
			case <-g.opened:
				return s.Commit(ctx, b)
			case <-ctx.Done():
				return &batcher.Error{Class: batcher.Again, Err: context.Cause(ctx)}
			}
		})
	}}
}
