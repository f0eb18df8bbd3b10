package readpath

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// start is the cursor before all.
var start = Cursor{Step: math.MinInt32}

// String is the cursor as requests and replies have it: "generation.sequence.step".
func (c Cursor) String() string {
	return strconv.FormatUint(uint64(c.Generation), 10) + "." + strconv.FormatUint(c.Sequence, 10) + "." + strconv.Itoa(int(c.Step))
}

// ParseCursor reads what String writes; "" is the beginning.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return start, nil
	}
	generation, rest, _ := strings.Cut(s, ".")
	sequence, step, _ := strings.Cut(rest, ".")
	g, err1 := strconv.ParseUint(generation, 10, 32)
	q, err2 := strconv.ParseUint(sequence, 10, 64)
	n, err3 := strconv.ParseInt(step, 10, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Cursor{}, fmt.Errorf("cursor %.100q is not one that a reply gave: begin again without", s)
	}
	return Cursor{Generation: uint32(g), Sequence: q, Step: int32(n)}, nil
}

// watchPause is how often a watch looks for news of its run while its partition is busy with others.
const watchPause = 100 * time.Millisecond

// Watch returns the run's steps from number from on that were saved after the cursor, in the order in which they were, as far as a page
// goes. When there are none it waits until one is committed, for as long as wait and ctx allow, and then returns none.
func (r *Reader) Watch(ctx context.Context, namespace, runID string, from int32, after Cursor, wait time.Duration) ([]Change, error) {
	if err := r.check(namespace, runID); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	w := watch{r: r, p: wire.Partition(namespace, runID, r.Partitions), namespace: namespace, runID: runID, from: from, after: after}
	for {
		began := time.Now()
		changes, err := w.look(ctx)
		if err != nil || len(changes) > 0 {
			return changes, err
		}
		if err := w.pause(waiting, began); ctx.Err() != nil {
			return nil, context.Cause(ctx)
		} else if err != nil || waiting.Err() != nil {
			return nil, err
		}
	}
}

// watch is one call of Watch at work.
//
//	bound ← what is known of the position
//	last  ← the run's last event, from the leader
//	seen ≥ last: no news. Else changes ← MySQL            any: answer
//	bound ≥ last: seen ← last, wait for bound to grow      all that the run has was in MySQL; news come with a later event
//	else wait for bound ≥ last                             it is in the log, and will be in MySQL
//
// A bound that is none, of a database that was restored, may have it wait for too much: until its wait is over. The next call begins
// with a look at MySQL.
type watch struct {
	r                *Reader
	p                int
	namespace, runID string
	from             int32
	after            Cursor

	looked bool
	seen   uint64 // the run's events up to here were in MySQL when it had no changes
	until  uint64 // the position at which there may be some
	news   bool   // that one brings some: it is the run's own event, not another one of the partition
}

func (w *watch) look(ctx context.Context) ([]Change, error) {
	bound := w.r.Positions.Bound(w.p)
	last, err := w.r.Tail.Last(ctx, w.p, w.namespace, wire.KindRun, w.runID)
	if err != nil {
		return nil, fmt.Errorf("read end of the log: %w", err)
	}
	if !w.looked || last > w.seen {
		changes, err := w.r.History.Changes(ctx, w.runID, w.from, w.after)
		if err != nil || len(changes) > 0 {
			return changes, err
		}
		w.looked = true
		if last > bound {
			w.until, w.news = last, true
			return nil, nil
		}
		w.seen = last
	}
	w.until, w.news = bound+1, false
	return nil, nil
}

// pause waits for the position to reach until, or the end of waiting.
func (w *watch) pause(waiting context.Context, began time.Time) error {
	if w.news { // of whatever comes next nobody says that it is there, let alone this run's
		w.r.urge(w.p, w.until)
	}
	if _, err := w.r.await(waiting, w.p, w.until); err != nil && waiting.Err() == nil {
		return err
	}
	if !w.news {
		select {
		case <-time.After(watchPause - time.Since(began)):
		case <-waiting.Done():
		}
	}
	return nil
}
