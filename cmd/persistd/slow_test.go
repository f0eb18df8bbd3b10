package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// slow are hooks by which a daemon's commits and the two halves of its reads dawdle, so that whatever may happen between them does. The
// times are drawn from seed.
func slow(seed uint64) hooks {
	d := newDawdler(seed)
	return hooks{
		store: func(s batcher.Store) batcher.Store {
			return storeFunc(func(ctx context.Context, b *batcher.Batch) error {
				d.dawdle(ctx, 1, 20*time.Millisecond)
				err := s.Commit(ctx, b)
				d.dawdle(ctx, 1, 10*time.Millisecond) // in MySQL, and nobody has been told
				return err
			})
		},
		reads: func(r *readpath.Reader) { r.Tail, r.Rows = slowTail{r.Tail, d}, slowRows{r.Rows, d} },
	}
}

// dawdler passes time, at random.
type dawdler struct {
	mu   sync.Mutex
	draw *rand.Rand // guarded by mu
}

func newDawdler(seed uint64) *dawdler { return &dawdler{draw: rand.New(rand.NewPCG(seed, seed))} }

// dawdle waits up to most, in one of n cases, or until ctx ends.
func (d *dawdler) dawdle(ctx context.Context, n int, most time.Duration) {
	d.mu.Lock()
	skip, pause := d.draw.IntN(n) != 0, time.Duration(d.draw.Int64N(int64(most)))
	d.mu.Unlock()
	if skip {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// logTail is embedded where its method Tail is another one.
type logTail = readpath.Tail

type slowTail struct {
	logTail
	d *dawdler
}

func (s slowTail) Tail(ctx context.Context, p int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (uint64, error) {
	s.d.dawdle(ctx, 8, 60*time.Millisecond)
	return s.logTail.Tail(ctx, p, namespace, kind, id, after, visit)
}

type slowRows struct {
	readpath.Rows
	d *dawdler
}

func (s slowRows) Latest(ctx context.Context, p int, runID string) (*wire.StepRecord, uint32, uint64, error) {
	s.d.dawdle(ctx, 8, 60*time.Millisecond)
	return s.Rows.Latest(ctx, p, runID)
}
