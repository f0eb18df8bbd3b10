package main

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// readCases counts what reads found, so that a test which is about one case can say that it met it.
type readCases struct {
	nothing   atomic.Int64 // neither tail nor row
	row       atomic.Int64 // a row alone
	tail      atomic.Int64 // a tail behind the position and no row
	tailFirst atomic.Int64 // a tail behind the position whose step is the row's or a higher one
	rowFirst  atomic.Int64 // a tail behind the position whose steps are all lower than the row's
	overtaken atomic.Int64 // a tail that MySQL had caught up with when it was asked

	tails sync.Map // of the reads under way: ctx, which each has one of, to what it has read
}

// count are hooks that count; more are called first.
func (c *readCases) count(more hooks) hooks {
	return hooks{store: more.store, reads: func(r *readpath.Reader) {
		if more.reads != nil {
			more.reads(r)
		}
		r.Tail, r.Rows = countedTail{r.Tail, c}, countedRows{r.Rows, c}
	}}
}

// seen is a write of a tail.
type seen struct {
	sequence uint64
	step     int32
}

func (c *readCases) note(tail []seen, row *wire.StepRecord, position uint64) {
	behind, highest := false, int32(0)
	for _, w := range tail {
		if w.sequence > position && (!behind || w.step > highest) {
			behind, highest = true, w.step
		}
	}
	switch {
	case behind && row == nil:
		c.tail.Add(1)
	case behind && highest >= row.Step:
		c.tailFirst.Add(1)
	case behind:
		c.rowFirst.Add(1)
	case len(tail) > 0:
		c.overtaken.Add(1)
	case row != nil:
		c.row.Add(1)
	default:
		c.nothing.Add(1)
	}
}

// reading is a read under way. Its row may be read beside the tail, and again after it.
type reading struct {
	mu       sync.Mutex
	tail     []seen
	last     uint64
	tailDone bool
	early    *rowSeen // read before the tail was
}

type rowSeen struct {
	row      *wire.StepRecord
	position uint64
}

// good is whether a row that was read before the tail was known to be is the answer's.
func (r *reading) good(row *rowSeen) bool { return 0 < r.last && r.last <= row.position }

func (c *readCases) reading(ctx context.Context) *reading {
	r, _ := c.tails.LoadOrStore(ctx, &reading{})
	return r.(*reading)
}

type countedTail struct {
	logTail
	c *readCases
}

func (s countedTail) Tail(ctx context.Context, p int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (uint64, error) {
	var tail []seen
	last, err := s.logTail.Tail(ctx, p, namespace, kind, id, after, func(ev *wire.Event) {
		for i := range ev.Ops {
			tail = append(tail, seen{ev.Message.Sequence, ev.Ops[i].Step})
		}
		visit(ev)
	})
	if kind != wire.KindRun {
		return last, err
	}
	r := s.c.reading(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tail, r.last, r.tailDone = tail, last, true
	if r.early != nil && r.good(r.early) && err == nil {
		s.c.note(tail, r.early.row, r.early.position)
		s.c.tails.Delete(ctx)
	}
	return last, err
}

type countedRows struct {
	readpath.Rows
	c *readCases
}

func (s countedRows) Latest(ctx context.Context, p int, runID string) (*wire.StepRecord, uint32, uint64, error) {
	r := s.c.reading(ctx)
	r.mu.Lock()
	inOrder := r.tailDone
	r.mu.Unlock()
	row, begun, position, err := s.Rows.Latest(ctx, p, runID)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch got := (&rowSeen{row, position}); {
	case err != nil:
	case !r.tailDone:
		r.early = got
	case inOrder || r.good(got):
		s.c.note(r.tail, row, position)
		s.c.tails.Delete(ctx)
	}
	return row, begun, position, err
}
