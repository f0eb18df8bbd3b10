package load

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what was measured.
type Result struct {
	latency *hdrhistogram.Histogram

	// Done is how many operations there were that did not fail, of the whole run.
	Done int64
	// Within is how many operations ended within Took. Of an operation that began in the warm-up the end counts, and of one that ended after
	// Took only its latency does; so the rate of a closed loop is right however long one of them takes.
	Within int64
	// Took is the time that was measured, or from the end of the warm-up to the end of the last operation, where Count ended the run.
	Took time.Duration
}

// Rate is how many operations ended in a second.
func (r Result) Rate() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Within) / r.Took.Seconds()
}

// Measured is how many operations the latencies are of: those that began, or arrived, after the warm-up and did not fail.
func (r Result) Measured() int64 { return r.latency.TotalCount() }

// Quantile is what the share q of operations, from 0 to 1, took at most, to a thousandth of it, or to 0.1 µs where that is more. Of no
// operation at all it is 0.
func (r Result) Quantile(q float64) time.Duration {
	return time.Duration(r.latency.ValueAtQuantile(100 * q))
}

// The histograms' range and resolution: 20 buckets of 1024 counters, 160 KiB a worker.
const (
	lowest  = 100 * time.Nanosecond
	highest = time.Minute
	digits  = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(lowest), int64(highest), digits)
}

// record counts what took longer than any histogram has room for as its longest.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), highest))) // always in its range
}

// result joins what the workers have.
func (l *loop) result(outer, inner context.Context, workers []worker) (Result, error) {
	r := Result{latency: newHistogram(), Took: l.For}
	var last time.Time
	for _, w := range workers {
		r.latency.Merge(w.latency)
		r.Done += w.done
		r.Within += w.within
		if w.last.After(last) {
			last = w.last
		}
	}
	if l.Count > 0 && (l.until.IsZero() || last.Before(l.until)) {
		r.Took = max(0, last.Sub(l.from))
	}
	if err := outer.Err(); err != nil {
		return r, fmt.Errorf("run load: %w", context.Cause(outer))
	}
	if first := l.first.Load(); first != nil {
		return r, fmt.Errorf("run load: %d operations failed, the first: %w", l.failed.Load(), *first)
	}
	if missed := l.missed.Load(); missed > 0 {
		return r, fmt.Errorf("run load: %d operations arrived that nobody could begin within %s: %w", missed, l.Grace, context.Cause(inner))
	}
	return r, nil
}
