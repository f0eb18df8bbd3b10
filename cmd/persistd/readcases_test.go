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

	tails sync.Map // of the reads under way: ctx, which each has one of, to its tail
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

type countedTail struct {
	logTail
	c *readCases
}

func (s countedTail) Tail(ctx context.Context, p int, namespace, kind, id string, after uint64, visit func(*wire.Event)) error {
	var tail []seen
	err := s.logTail.Tail(ctx, p, namespace, kind, id, after, func(ev *wire.Event) {
		for i := range ev.Ops {
			tail = append(tail, seen{ev.Message.Sequence, ev.Ops[i].Step})
		}
		visit(ev)
	})
	s.c.tails.Store(ctx, tail)
	return err
}

type countedRows struct {
	readpath.Rows
	c *readCases
}

func (s countedRows) Latest(ctx context.Context, p int, runID string) (*wire.StepRecord, uint32, uint64, error) {
	row, begun, position, err := s.Rows.Latest(ctx, p, runID)
	tail, ok := s.c.tails.LoadAndDelete(ctx)
	if writes, _ := tail.([]seen); ok && err == nil {
		s.c.note(writes, row, position)
	}
	return row, begun, position, err
}
