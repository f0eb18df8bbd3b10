package position

import (
	"container/heap"
	"context"
	"sync"

	"github.com/persistd/persistd/internal/wire"
)

// Commit tells that a partition's position went from From to To.
type Commit struct {
	Partition int
	From, To  uint64
	// Rejected are the events between them that were not applied, by sequence.
	Rejected map[uint64]wire.Poison
}

// CommitOf is the commit that a tells of.
func CommitOf(a wire.Announcement) Commit {
	c := Commit{Partition: a.Partition, From: a.From, To: a.Position}
	for seq, r := range a.Rejected {
		if c.Rejected == nil {
			c.Rejected = map[uint64]wire.Poison{}
		}
		c.Rejected[seq] = wire.Poison{Code: r.Code, Reason: r.Reason, ErrorNumber: r.ErrorNumber}
	}
	return c
}

// Outcome is what became of an event that the position has passed.
type Outcome struct {
	// Known says that the commit that passed the event was seen; if it was not, the event may have become a dead letter.
	Known bool
	// Rejected is why the event was not applied; nil when it was, or when it is not Known.
	Rejected *wire.Poison
}

// Tracker remembers positions. Its methods may be called from any goroutine.
type Tracker struct {
	mu         sync.Mutex
	partitions []partition // guarded by mu
}

type partition struct {
	bound   uint64
	waiters waiters
}

// NewTracker knows of nothing yet: every bound is 0.
func NewTracker(partitions int) *Tracker { return &Tracker{partitions: make([]partition, partitions)} }

// Bound is a position that the partition had reached when that was last heard of. It is a lower bound of its position unless the
// database was restored since.
func (t *Tracker) Bound(p int) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.partitions[p].bound
}

// Advance is told of a commit. Commits may come late, twice or out of order; a bound never goes back by one.
func (t *Tracker) Advance(c Commit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.partitions[c.Partition]
	for len(p.waiters) > 0 && p.waiters[0].seq <= c.To {
		w := heap.Pop(&p.waiters).(*waiter) //nolint:forcetypeassert // the heap holds nothing else.
		out := Outcome{Known: w.seq > c.From}
		if r, ok := c.Rejected[w.seq]; ok && out.Known {
			out.Rejected = &r
		}
		w.done <- out
	}
	p.bound = max(p.bound, c.To)
}

// Found is told of a position that was just read from the database, which is the truth: the bound becomes it, also when that is
// further back. before is what Bound was when the reading began: if the bound has moved since, the position may be older than what
// moved it, and does not set it back. Those who wait for less learn that they were passed.
func (t *Tracker) Found(p int, before, position uint64) {
	t.Advance(Commit{Partition: p, From: position, To: position})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.partitions[p].bound == before {
		t.partitions[p].bound = position
	}
}

// Wait blocks until the partition's position is known to have passed seq, or ctx ends.
func (t *Tracker) Wait(ctx context.Context, p int, seq uint64) (Outcome, error) {
	t.mu.Lock()
	if t.partitions[p].bound >= seq {
		t.mu.Unlock()
		return Outcome{}, nil
	}
	w := &waiter{seq: seq, done: make(chan Outcome, 1)}
	heap.Push(&t.partitions[p].waiters, w)
	t.mu.Unlock()
	select {
	case out := <-w.done:
		return out, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case out := <-w.done: // it came while ctx ended
		return out, nil
	default:
		heap.Remove(&t.partitions[p].waiters, w.index)
		return Outcome{}, context.Cause(ctx)
	}
}

// waiter waits for a position of seq or more.
type waiter struct {
	seq   uint64
	done  chan Outcome // of one place: Advance does not block
	index int          // in the heap, guarded by Tracker.mu
}

// waiters is a heap of waiters, the lowest seq first.
type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].seq < w[j].seq }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waiters) Push(x any) {
	e := x.(*waiter) //nolint:forcetypeassert // only waiters are pushed.
	e.index = len(*w)
	*w = append(*w, e)
}

func (w *waiters) Pop() any {
	old := *w
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return e
}
