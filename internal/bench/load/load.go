package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Options says what is done.
type Options struct {
	// Workers is how many operations are under way at most; at least 1.
	Workers int
	// Rate is how many operations arrive in a second, of all workers together, evenly spaced. Zero is a closed loop.
	Rate float64
	// WarmUp is how long at the beginning nothing is measured.
	WarmUp time.Duration
	// For is how long is measured, after that. Zero is until Count have been done.
	For time.Duration
	// Count ends a closed loop when so many operations have begun, warm-up included. Zero is no bound.
	Count int64
	// Pause is how long a worker of a closed loop rests before each operation; that is not measured.
	Pause time.Duration
	// Grace is how long, after the end, is waited for what is under way, or of an open loop for what has arrived; zero is 30 s. What has not
	// ended then has failed. Without For it bounds all.
	Grace time.Duration
}

// Op is the operation: the n-th of a worker, both from 0. It ends when ctx does.
type Op func(ctx context.Context, worker, n int) error

const (
	defaultGrace = 30 * time.Second
	// maxFailures ends a run: of a system that is away thousands a second would fail.
	maxFailures = 100
	// maxArrivals bounds the memory that an open loop's queue takes.
	maxArrivals = 1_000_000
)

// Run does op as o says, until that ends or ctx does. The error says how many operations failed and why the first of them did; of those that did not
// the Result tells nevertheless.
func Run(ctx context.Context, o Options, op Op) (Result, error) { return run(ctx, o, sleepUntil, op) }

func (o Options) check() error {
	switch {
	case o.Workers < 1:
		return fmt.Errorf("%d workers are not at least 1", o.Workers)
	case o.Rate < 0, o.WarmUp < 0, o.For < 0, o.Count < 0, o.Pause < 0, o.Grace < 0:
		return errors.New("a rate, a time or a count is negative")
	case o.For == 0 && o.Count == 0:
		return errors.New("neither a time nor a count ends it")
	case o.Rate > 0 && (o.For == 0 || o.Count > 0 || o.Pause > 0):
		return errors.New("an open loop is ended by its time, and takes no count and no pause")
	case o.Rate*(o.WarmUp+o.For).Seconds() > maxArrivals:
		return fmt.Errorf("more than %d operations would arrive: make it shorter", maxArrivals)
	}
	return nil
}

// loop is a run under way.
type loop struct {
	Options
	from, until time.Time // what is measured; until is zero when only Count ends it

	stop   context.CancelCauseFunc
	begun  atomic.Int64
	failed atomic.Int64
	first  atomic.Pointer[error]

	arrivals chan time.Time // of an open loop
	missed   atomic.Int64   // arrivals that came to nobody
}

func run(ctx context.Context, o Options, sleep sleeper, op Op) (Result, error) {
	if err := o.check(); err != nil {
		return Result{latency: newHistogram()}, fmt.Errorf("run load: %w", err)
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	begin := time.Now()
	l := &loop{Options: o, from: begin.Add(o.WarmUp)}
	if o.For > 0 {
		l.until = l.from.Add(o.For)
	}
	inner, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	l.stop = stop
	inner, cancel := context.WithDeadlineCause(inner, l.from.Add(o.For+o.Grace), errGrace)
	defer cancel()

	next := l.whenever
	var all sync.WaitGroup
	if o.Rate > 0 {
		l.arrivals = make(chan time.Time, l.total())
		next = l.arrival
		all.Go(func() { l.schedule(inner, begin, sleep) })
	}
	workers := make([]worker, o.Workers)
	for i := range workers {
		all.Go(func() { workers[i].work(inner, l, i, next, op) })
	}
	all.Wait()
	return l.result(ctx, inner, workers)
}

var errGrace = errors.New("it took longer than it may")

// whenever is the closed loop's next beginning: now.
func (l *loop) whenever(ctx context.Context) (time.Time, bool) {
	if l.Pause > 0 {
		rest := time.NewTimer(l.Pause)
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
	}
	now := time.Now()
	if ctx.Err() != nil || !l.until.IsZero() && !now.Before(l.until) {
		return now, false
	}
	return now, l.Count == 0 || l.begun.Add(1) <= l.Count
}

func (l *loop) fail(err error) {
	l.first.CompareAndSwap(nil, &err)
	if l.failed.Add(1) == maxFailures {
		l.stop(errors.New("too many operations failed"))
	}
}

// worker is what one of them has measured.
type worker struct {
	latency *hdrhistogram.Histogram
	done    int64     // how many ended well
	within  int64     // of those, while it was measured
	last    time.Time // when the last one ended
}

func (w *worker) work(ctx context.Context, l *loop, index int, next func(context.Context) (time.Time, bool), op Op) {
	w.latency = newHistogram()
	for n := 0; ; n++ {
		meant, ok := next(ctx)
		if !ok {
			return
		}
		err := op(ctx, index, n)
		now := time.Now()
		switch {
		case err != nil:
			l.fail(err)
			continue
		case !now.Before(l.from) && (l.until.IsZero() || now.Before(l.until)):
			w.within++
		}
		w.done++
		w.last = now
		if !meant.Before(l.from) {
			record(w.latency, now.Sub(meant))
		}
	}
}
