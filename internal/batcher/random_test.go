package batcher_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// fate is what must become of an event, whatever happens on the way.
type fate struct {
	ev   wire.Event
	code string // of its dead letter; "" when it is applied
}

// history draws a log: good events and transactions in parts, what was poison from the start, what the database refuses, and writes of
// an attempt that was over when they came.
func history(rng *rand.Rand) []fate {
	var (
		log     []fate
		seq     uint64
		attempt = uint32(1)
	)
	for range 1 + rng.IntN(80) {
		seq += 1 + uint64(rng.IntN(3))
		f := fate{ev: step(seq, 1+rng.IntN(2000))}
		if rng.IntN(5) == 0 {
			f.ev = inParts(seq+3, 4, wire.Message{})
			f.ev.Size, seq = rng.IntN(6000), seq+3
		}
		f.ev.Attempt = attempt
		switch rng.IntN(12) {
		case 0:
			f.code, f.ev.Ops, f.ev.Poison = wire.CodeNotJSON, nil, &wire.Poison{Code: wire.CodeNotJSON, Reason: "no JSON"}
		case 1:
			f.code, f.ev.Ops[0].NodeID = wire.CodeDatabase, "too long"
		case 2:
			attempt++
			f.ev.Attempt, f.ev.Ops = attempt, []wire.Op{{Type: wire.OpAttempt}}
		case 3, 4:
			if f.ev.Attempt--; f.ev.Attempt > 0 {
				f.code = wire.CodeAttempt
			}
		}
		log = append(log, f)
	}
	return log
}

// adversary makes everything fail that can, for a while.
type adversary struct {
	*model
	rng     *rand.Rand
	attempt uint32 // the newest that is committed
}

func (a *adversary) Commit(ctx context.Context, b *batcher.Batch) error {
	a.mu.Lock()
	fails := func(n int) error {
		if a.rng.IntN(n) != 0 {
			return nil
		}
		return []error{again, operator}[a.rng.IntN(2)]
	}
	a.before, a.after = []error{fails(8)}, []error{fails(8)}
	if a.rng.IntN(30) == 0 {
		a.hang = 1
	}
	a.took = time.Duration(a.rng.IntN(20)) * time.Millisecond
	newest, mercy := a.attempt, false
	a.stale = func(ev *wire.Event) *wire.Poison {
		if newest = max(newest, ev.Attempt); ev.Attempt == 0 || ev.Attempt == newest || mercy {
			return nil
		}
		mercy = a.rng.IntN(3) == 0 // it need not name all of them at once
		return &tooOld
	}
	from := a.position
	a.mu.Unlock()
	err := a.model.Commit(ctx, b)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.position != from {
		a.attempt = newest
	}
	return err
}

// I2, I5, I7: whatever fails, and however often the process dies, each event is applied once and in order, or has its letter before the
// position passes it, and who waits for it is told.
func TestI7WhateverFailsEachEventMeetsItsFate(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			log := history(rng)
			fates := map[uint64]fate{}
			var applied []uint64
			for _, f := range log {
				fates[f.ev.Message.Sequence] = f
				if f.code == "" {
					applied = append(applied, f.ev.Message.Sequence)
				}
			}
			graves := &graveyard{letters: map[uint64]wire.Poison{}}
			world := &adversary{model: &model{epoch: 7}, rng: rng}
			world.refuse = func(ev *wire.Event) bool { return ev.Ops[0].NodeID != "" }
			world.check = func(b *batcher.Batch) {
				rows, bytes, last := 0, 0, b.After
				for _, ev := range b.Events {
					rows, bytes = rows+len(ev.Ops), bytes+ev.Size
					require.Greater(t, ev.Message.Sequence, last)
					last = ev.Message.Sequence
					if ev.Poison != nil {
						require.Empty(t, ev.Ops)
						require.Contains(t, graves.letters, last, "seed %d: the position would pass it", seed)
					} else {
						require.Len(t, ev.Ops, len(fates[last].ev.Ops), "seed %d: event is not whole", seed)
					}
				}
				require.Equal(t, []int{rows, bytes}, []int{b.Rows, b.Bytes}, "seed %d", seed)
			}
			told := func(c batcher.Committed) {
				codes, want := map[uint64]string{}, map[uint64]string{}
				for _, ev := range c.Poison {
					codes[ev.Message.Sequence] = ev.Poison.Code
				}
				for seq, f := range fates {
					if f.code != "" && seq > c.From && seq <= c.To {
						want[seq] = f.code
					}
				}
				require.Equal(t, want, codes, "seed %d", seed)
			}
			died := errors.New("killed")
			end := log[len(log)-1].ev.Message.Sequence
			for lives := 0; world.position < end; lives++ {
				require.Less(t, lives, 200, "seed %d: no end", seed)
				start := world.position
				for range rng.IntN(3) {
					graves.fail = append(graves.fail, errors.New("stream is full"))
				}
				cfg := batcher.Config{MaxRows: 1 + rng.IntN(20), MaxBytes: 4 << 10, QueueBytes: 16 << 10, AttemptTimeout: time.Second, Jitter: -1}.WithDefaults()
				cfg.Linger = time.Duration(rng.IntN(3)) * 20 * time.Millisecond
				b := batcher.New(cfg, batcher.Deps{
					Store: world, DeadLetters: graves, OnCommit: told, Log: zap.NewNop(), Metrics: batcher.NewMetrics(prometheus.NewRegistry()),
				}, batcher.Start{Partition: 3, Epoch: 7, Position: start})
				ctx, kill := context.WithCancelCause(t.Context())
				killer := time.AfterFunc(time.Duration(rng.IntN(3000))*time.Millisecond, func() { kill(died) })
				urges := rand.New(rand.NewPCG(rng.Uint64(), 0)) // rng is Run's from here on
				out := make(chan error, 1)
				go func() {
					err := b.Run(ctx)
					kill(err)
					out <- err
				}()
				for _, f := range log {
					if urges.IntN(10) == 0 {
						b.Urge(urges.Uint64N(end + 1))
					}
					if f.ev.Message.Sequence > start && b.Add(ctx, f.ev) != nil {
						break
					}
				}
				b.Close()
				if err := <-out; err != nil {
					require.ErrorIs(t, err, died, "seed %d", seed)
				} else {
					waiting, size := b.Waits()
					require.Zero(t, waiting+size, "seed %d", seed)
				}
				killer.Stop()
			}
			require.Equal(t, applied, world.applied, "seed %d", seed)
			codes := map[uint64]string{}
			for seq, why := range graves.letters {
				codes[seq] = why.Code
			}
			for seq, f := range fates {
				require.Equal(t, f.code, codes[seq], "seed %d: event %d", seed, seq)
			}
		})
	}
}
