package batcher_test

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
)

// counting is a store that keeps nothing.
type counting struct{ events int }

func (c *counting) Commit(_ context.Context, b *batcher.Batch) error {
	c.events += len(b.Events)
	return nil
}

// An event is allocated once, when it is added: the queue, the batch and the store have that one. What a batcher and its batches allocate is
// shared by all events that they have.
func TestAnEventIsQueuedAndGatheredInOneAllocation(t *testing.T) { //nolint:paralleltest // it counts allocations.
	const n = 1000
	events, store := steps(1, n), &counting{}
	deps := batcher.Deps{Store: store, Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Gate: batcher.NewGate(1, nil), Log: zap.NewNop()}
	took := testing.AllocsPerRun(20, func() {
		b := batcher.New(batcher.Config{}.WithDefaults(), deps, batcher.Start{})
		for i := range events {
			require.NoError(t, b.Add(t.Context(), events[i]))
		}
		b.Close()
		require.NoError(t, b.Run(t.Context()))
	})
	require.Equal(t, 21*n, store.events, "all were gathered, also in the run that warms up")
	require.InDelta(t, 1, took/n, 0.1)
}
