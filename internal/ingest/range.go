package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// rangeLook is how often the reader of a range looks whether there is still something to come.
const rangeLook = 500 * time.Millisecond

// stuckLooks is after how many looks without an event what the log still holds is taken for the beginning of a transaction without its end.
// A reader that only lost its server is back much earlier.
const stuckLooks = 40

// ErrUnfinished says that the log holds the beginning of a transaction in parts, and nothing after it.
var ErrUnfinished = errors.New("the log ends within a transaction")

var errRangeEnds = errors.New("the range ends here")

// Range calls deliver with the events of partition after the sequence after, up to and with the sequence until, as [Reader.Read] does, and
// returns nil once the last of them was delivered. Neither of the two need be an event's; that the log no longer has events of the
// range is no error. It waits while the server is away. A transaction at the log's end that is not complete is waited for, but not for
// ever: then the error is [ErrUnfinished], and all before it was delivered.
func (r *Reader) Range(ctx context.Context, partition int, after, until uint64, deliver func(context.Context, wire.Event) error) error {
	if until <= after {
		return nil
	}
	reading, stop := context.WithCancelCause(ctx)
	w := &rangeWatch{r: r, partition: partition, stop: stop}
	w.at.Store(after)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop(nil) // before the wait
	watching.Go(func() { w.run(reading) })
	err := r.Read(reading, partition, wire.Place{Sequence: after}, func(ctx context.Context, ev wire.Event) error {
		if ev.Message.Sequence > until {
			return errRangeEnds
		}
		w.busy.Store(true)
		defer w.busy.Store(false)
		if err := deliver(ctx, ev); err != nil {
			return err
		}
		w.at.Store(ev.Message.Sequence)
		if ev.Message.Sequence == until {
			return errRangeEnds
		}
		return nil
	}, nil)
	switch {
	case errors.Is(err, errRangeEnds):
		return nil
	case errors.Is(err, ErrUnfinished):
		return fmt.Errorf("read partition %d after %d: %w", partition, w.at.Load(), ErrUnfinished)
	}
	return err
}

// rangeWatch ends the reading of a range whose last events are not there to end it.
type rangeWatch struct {
	r         *Reader
	partition int
	stop      context.CancelCauseFunc
	at        atomic.Uint64 // the sequence delivered last
	busy      atomic.Bool   // an event is being delivered: that may take its time
}

func (w *rangeWatch) run(ctx context.Context) {
	last, looks := w.at.Load(), 0
	for {
		if at := w.at.Load(); at != last || w.busy.Load() {
			last, looks = at, 0
		} else if why := w.over(ctx, at, looks); why != nil {
			w.stop(why)
			return
		}
		looks++
		if !sleep(ctx, rangeLook) {
			return
		}
	}
}

// over says why nothing is to come after the sequence at, at which reading has been for so many looks; nil while something may. A server
// that is away does not say, and Read waits for it.
func (w *rangeWatch) over(ctx context.Context, at uint64, looks int) error {
	n, err := w.r.Pending(ctx, w.partition, at)
	switch wentOn := w.at.Load() != at || w.busy.Load(); {
	case wentOn || err != nil:
	case n == 0:
		return errRangeEnds
	case looks >= stuckLooks:
		return ErrUnfinished
	}
	return nil //nolint:nilerr // see above.
}
