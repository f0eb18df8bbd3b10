package batcher_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func TestAFullBatchDoesNotLinger(t *testing.T) {
	t.Parallel()
	many := step(2, 100)
	for range 9 {
		many.Ops = append(many.Ops, many.Ops[0])
	}
	for name, row := range map[string]struct {
		cfg  batcher.Config
		add  []wire.Event
		want []commit
	}{
		"in rows":               {batcher.Config{MaxRows: 10}, steps(2, 11), []commit{{0, 10, 10}}},
		"in rows of one event":  {batcher.Config{MaxRows: 10}, []wire.Event{many}, []commit{{0, 1, 10}}},
		"in poison":             {batcher.Config{MaxRows: 2}, []wire.Event{poisoned(2), poisoned(3)}, []commit{{0, 2, 0}}},
		"in bytes":              {batcher.Config{MaxBytes: 1000}, steps(2, 11), []commit{{0, 10, 10}}},
		"and what is over does": {batcher.Config{MaxRows: 10}, steps(2, 13), []commit{{0, 10, 10}, {100 * ms, 2, 2}}},
		"nor does one too many": {batcher.Config{MaxBytes: 1000}, []wire.Event{step(2, 600), step(3, 500)}, []commit{{0, 1, 1}, {100 * ms, 1, 1}}},
		"but one that is not":   {batcher.Config{MaxRows: 10, MaxBytes: 1000}, steps(2, 10), []commit{{100 * ms, 9, 9}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				row.cfg.Linger = linger
				b := setup(t, row.cfg)
				out := b.run(t.Context())
				b.add(t, step(1, 100))
				synctest.Wait()
				b.add(t, row.add...)
				sleep(time.Second)
				require.Equal(t, row.want, b.store.commits[1:])
				b.Close()
				require.NoError(t, <-out)
				rows, bytes := b.Waits()
				require.Zero(t, rows)
				require.Zero(t, bytes)
			})
		})
	}
}

// A queue that is full before a batch is, for its events' headers or for their number, has nothing to wait for: nothing more comes.
func TestAFullQueueDoesNotLinger(t *testing.T) {
	t.Parallel()
	heavy := func(seq uint64) wire.Event {
		ev := step(seq, 1)
		ev.Message.Header = wire.Header{"Trace": {strings.Repeat("x", 60<<10)}}
		return ev
	}
	light := func(seq uint64) wire.Event { return step(seq, 1) }
	for name, row := range map[string]struct {
		cfg    batcher.Config
		event  func(seq uint64) wire.Event
		events uint64
	}{
		"in memory": {batcher.Config{QueueBytes: 1 << 20, MaxBytes: 1 << 20}, heavy, 100},
		"in number": {batcher.Config{QueueBytes: 1 << 30, MaxRows: 10_000}, light, 9000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				row.cfg.Linger = linger
				b := setup(t, row.cfg)
				out := b.run(t.Context())
				b.add(t, row.event(1))
				synctest.Wait()
				for seq := uint64(2); seq <= row.events; seq++ {
					b.add(t, row.event(seq))
				}
				require.Equal(t, epoch, time.Now().UTC(), "nothing waited")
				b.Close()
				require.NoError(t, <-out)
				require.Equal(t, sequences(1, row.events), b.store.applied)
			})
		})
	}
}

func TestWhatWasNotTakenDoesNotCountAsWaiting(t *testing.T) {
	t.Parallel()
	b := setup(t, batcher.Config{QueueBytes: 1 << 30})
	b.add(t, steps(1, 4096)...) // as many as the queue takes, and nobody takes them out
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Add(ctx, step(5000, 100)), context.Canceled)
	rows, bytes := b.Waits()
	require.EqualValues(t, 4096, rows)
	require.EqualValues(t, 4096*100, bytes)
}
