package batcher_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func TestBatchIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{MaxBytes: 1000})
		b.add(t, step(1, 400), step(2, 600), step(3, 1), step(4, 5000), step(5, 1000), step(6, 1))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		var sizes []int
		for _, c := range b.store.commits {
			sizes = append(sizes, c.events)
		}
		require.Equal(t, []int{2, 1, 1, 1, 1}, sizes, "1+2 fill it; 3 would fit with 4 only above it; 4 is too large and goes alone")
	})
}

func TestI5EventIsNeverSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{MaxRows: 10})
		big := step(2, 100)
		for range 24 {
			big.Ops = append(big.Ops, big.Ops[0])
		}
		b.add(t, step(1, 100), big, step(3, 100))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, []commit{{0, 1, 1}, {0, 1, 25}, {0, 1, 1}}, b.store.commits)
	})
}

func TestAddBlocksWhileTheQueueIsFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{QueueBytes: 4 << 20, MaxBytes: 1 << 20})
		b.store.took = time.Second
		out := b.run(t.Context())
		const size = 1<<20 - 512 // with the overhead, four fill the queue
		b.add(t, step(1, size), step(2, size), step(3, size), step(4, size))
		b.add(t, step(5, size))
		require.Equal(t, time.Second, time.Since(epoch), "the fifth waits for the first commit")

		ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("tired of waiting"))
		defer cancel()
		require.EqualError(t, b.Add(ctx, step(6, size)), "tired of waiting")
		require.Equal(t, 4, b.Queued(), "what was not taken is not counted")
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, sequences(1, 5), b.store.applied)
	})
}

// A small event may have large headers, and thousands of them fit into the queue.
func TestHeadersCountAgainstTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{QueueBytes: 1 << 20, MaxBytes: 1 << 20})
		b.store.took = time.Second
		out := b.run(t.Context())
		for i := range 17 {
			ev := step(uint64(i+1), 10)
			ev.Message.Header = wire.Header{"Trace": {strings.Repeat("x", 64<<10-1024)}}
			b.add(t, ev)
		}
		require.Equal(t, time.Second, time.Since(epoch), "the last waits for the first commit")
		b.Close()
		require.NoError(t, <-out)
	})
}
