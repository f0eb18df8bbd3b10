package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/pkg/client"
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

func TestStepsOfManyCallersWhoWaitForTheirCommitsShareTransactions(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.audited()
	d := s.serveHere(hooks{}, "PERSISTD_MYSQL_WRITERS=1")
	st := s.open(client.WithDurability(client.Committed))
	const callers, each = 32, 5
	var all errgroup.Group
	for caller := range callers {
		all.Go(func() error {
			run := fmt.Sprintf("run-%d", caller)
			for step := range each {
				if err := st.SaveStep(t.Context(), run, step, "n", json.RawMessage(`{}`)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	require.Equal(t, callers*each, s.count("audit", "1=1"), "each step was written once")
	m := s.metrics(d)
	require.Greater(t, m["persistd_transaction_batches_sum"], m["persistd_transaction_batches_count"])
	// Some may have been committed one by one all the same: a machine that stands still is slow to unlock a row.
	require.InDelta(t, m["persistd_batch_rows_count"], m["persistd_transaction_batches_sum"], 0)
}
