package batcher_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
)

// I2, I5, I7: whatever fails of transactions of several batches, and whose terms end meanwhile, each event is applied once and in order.
func TestI2WhateverFailsOfBatchesThatAreCommittedTogetherEachIsCommittedOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			store := newTogether()
			fails := func([]int) error { return unless(rng.IntN(6) > 0, again) }
			store.before, store.after = fails, fails
			var mu sync.Mutex // of slow
			slow := rand.New(rand.NewPCG(seed, 2))
			store.took = func([]int) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(slow.IntN(30)*slow.IntN(20)) * ms
			}
			gate := batcher.NewGate(1+rng.IntN(3), store)
			const last = 40
			var all sync.WaitGroup
			for no := range 2 + rng.IntN(5) {
				fates := rand.New(rand.NewPCG(seed, uint64(3+no)))
				all.Go(func() {
					for lives := 0; ; lives++ {
						store.mu.Lock()
						from := store.positions[no]
						store.epochs[no] = 100 + uint64(lives)
						store.mu.Unlock()
						if from == last {
							return
						}
						cfg := batcher.Config{MaxRows: 1 + fates.IntN(15), AttemptTimeout: time.Second, Jitter: -1}.WithDefaults()
						b := batcher.New(cfg, batcher.Deps{Store: store, Gate: gate, Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Log: zap.NewNop()},
							batcher.Start{Partition: no, Epoch: 100 + uint64(lives), Position: from})
						ctx, kill := context.WithTimeout(t.Context(), time.Duration(1+fates.IntN(5000))*ms)
						var run sync.WaitGroup
						run.Go(func() { _ = b.Run(ctx); kill() })
						for _, ev := range steps(from+1, last) {
							if fates.IntN(3) == 0 {
								<-time.After(time.Duration(fates.IntN(50)) * ms)
							}
							if b.Add(ctx, ev) != nil {
								break
							}
						}
						b.Close()
						run.Wait()
					}
				})
			}
			all.Wait()
			for no := range store.positions {
				require.Equal(t, sequences(1, last), store.applied[no], "seed %d", seed)
			}
		})
	}
}
