package client

import (
	"errors"
	"sync"
)

// tx lends a builder to the function of a transaction, for as long as that runs. What comes later, from a goroutine that the function left
// behind say, would not be written: it is told so.
type tx[S any] struct {
	mu sync.Mutex  // guards to, and what is done with it
	to *builder[S] // nil when the function has returned
}

var _ Tx[any] = (*tx[any])(nil)

var errOver = errors.New("transaction is over: nothing can be added to it")

func (t *tx[S]) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to = nil
}

func (t *tx[S]) add(what func(b *builder[S]) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.to == nil {
		return errOver
	}
	return what(t.to)
}

func (t *tx[S]) SaveStep(runID string, step int, nodeID string, state S) error {
	return t.add(func(b *builder[S]) error { return b.SaveStep(runID, step, nodeID, state) })
}

func (t *tx[S]) SaveCheckpoint(id string, state S, step int) error {
	return t.add(func(b *builder[S]) error { return b.SaveCheckpoint(id, state, step) })
}

func (t *tx[S]) SaveCheckpointV2(cp CheckpointV2[S], opts ...SaveOption) error {
	return t.add(func(b *builder[S]) error { return b.SaveCheckpointV2(cp, opts...) })
}

func (t *tx[S]) SaveEvents(events ...Event) error {
	return t.add(func(b *builder[S]) error { return b.SaveEvents(events...) })
}
