package batcher_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// together is a transactional store of several partitions in memory.
type together struct {
	mu        sync.Mutex
	positions map[int]uint64
	epochs    map[int]uint64 // 7, where nothing stands
	applied   map[int][]uint64
	done      []transaction
	failed    int // transactions of several batches
	took      func(parts []int) time.Duration
	before    func(parts []int) error // fails the transaction
	after     func(parts []int) error // what is said of one that is done
	sizes     []int                   // of the batches
	log       *zap.Logger
}

type transaction struct {
	at    time.Duration // when it was done
	parts []int
}

func newTogether() *together {
	return &together{
		positions: map[int]uint64{}, epochs: map[int]uint64{}, applied: map[int][]uint64{},
		took:   func([]int) time.Duration { return 10 * ms },
		log:    zap.NewNop(),
		before: func([]int) error { return nil }, after: func([]int) error { return nil },
	}
}

func (s *together) Commit(ctx context.Context, b *batcher.Batch) error {
	s.mu.Lock()
	done := s.epoch(b.Partition) == b.Epoch && s.positions[b.Partition] == b.Last()
	s.mu.Unlock()
	if done {
		return nil
	}
	return s.CommitAll(ctx, []*batcher.Batch{b})
}

func (s *together) epoch(no int) uint64 {
	if e, ok := s.epochs[no]; ok {
		return e
	}
	return 7
}

func (s *together) CommitAll(ctx context.Context, batches []*batcher.Batch) (err error) {
	var parts []int
	for _, b := range batches {
		parts = append(parts, b.Partition)
	}
	defer func() {
		if err != nil && len(batches) > 1 {
			s.failed++
		}
	}()
	select {
	case <-time.After(s.took(parts)):
	case <-ctx.Done():
		return &batcher.Error{Class: batcher.Again, Err: context.Cause(ctx)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.before(parts); err != nil {
		return err
	}
	for _, b := range batches {
		switch {
		case s.epoch(b.Partition) != b.Epoch:
			return &batcher.Error{Class: batcher.Lost, Err: errors.New("another epoch")}
		case s.positions[b.Partition] != b.After:
			return &batcher.Error{Class: batcher.Moved, Err: fmt.Errorf("position is %d, not %d", s.positions[b.Partition], b.After)}
		}
		for _, ev := range b.Events {
			if ev.Poison == nil && ev.Ops[0].NodeID != "" {
				return &batcher.Error{Class: batcher.Never, Number: 1406, Err: errors.New("data too long")}
			}
		}
	}
	for _, b := range batches {
		s.positions[b.Partition] = b.Last()
		s.sizes = append(s.sizes, len(b.Events))
		for _, ev := range b.Events {
			if ev.Poison == nil {
				s.applied[b.Partition] = append(s.applied[b.Partition], ev.Message.Sequence)
			}
		}
	}
	s.done = append(s.done, transaction{time.Since(epoch), parts})
	return s.after(parts)
}

// partition is a batcher at work on one partition of a store that all have.
type partition struct {
	*batcher.Batcher
	graves *graveyard
	told   []batcher.Committed
	cut    context.CancelCauseFunc
	out    chan error
}

func (s *together) partition(t *testing.T, gate *batcher.Gate, no int, events ...wire.Event) *partition {
	t.Helper()
	p := &partition{graves: &graveyard{letters: map[uint64]wire.Poison{}}, out: make(chan error, 1)}
	cfg := batcher.Config{MaxRows: 10, AttemptTimeout: time.Minute, Jitter: -1}.WithDefaults()
	p.Batcher = batcher.New(cfg, batcher.Deps{
		Store: s, Gate: gate, DeadLetters: p.graves, Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Log: s.log,
		OnCommit: func(c batcher.Committed) { p.told = append(p.told, c) },
	}, batcher.Start{Partition: no, Epoch: 7})
	var ctx context.Context
	ctx, p.cut = context.WithCancelCause(t.Context())
	for _, ev := range events {
		require.NoError(t, p.Add(ctx, ev))
	}
	go func() { p.out <- p.Run(ctx) }()
	synctest.Wait() // so that they stand in line in the order in which they are made
	return p
}

// close has the partitions commit what they have, and end.
func closeAll(t *testing.T, all ...*partition) {
	t.Helper()
	for _, p := range all {
		p.Close()
	}
	for _, p := range all {
		require.NoError(t, <-p.out)
		require.Zero(t, p.Queued())
	}
}

func refusedStep(seq uint64) wire.Event {
	ev := step(seq, 100)
	ev.Ops[0].NodeID = "too long"
	return ev
}

func deletion(seq uint64) wire.Event {
	ev := step(seq, 100)
	ev.Ops = []wire.Op{{Type: wire.OpDeleteRun}}
	return ev
}
