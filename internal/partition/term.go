package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// hold is one term, from its acquisition to its release. It returns nil when everything is committed that was read, else why the term is
// over; unread is whether that was the log's reader.
func (w *worker) hold(intake, hard context.Context, term Term, orphan bool) (unread bool, err error) {
	which := []zap.Field{zap.Int("partition", w.partition), zap.Uint64("epoch", term.Epoch)}
	w.deps.Logger.Info("partition acquired", append(which, zap.Uint64("position", term.Position))...)
	w.deps.Metrics.acquisitions.Inc()
	w.deps.Tell()
	unread, err = w.apply(intake, hard, term, orphan)
	w.release(hard, term)
	w.enter(Waiting, err)
	if err != nil {
		w.deps.Metrics.losses.WithLabelValues(whyLost(err)).Inc()
		w.deps.Logger.Warn("partition given up", append(which, zap.Error(err))...)
		return unread, err
	}
	why := forBalance
	if intake.Err() != nil {
		why = forStop
	}
	w.deps.Metrics.handovers.WithLabelValues(why).Inc()
	w.deps.Logger.Info("partition handed over", append(which, zap.String("for", why))...)
	return unread, nil
}

// whyLost is the reason for the metrics.
func whyLost(err error) string {
	e, isCommit := errors.AsType[*batcher.Error](err)
	switch {
	case errors.Is(err, errLost), isCommit && e.Class == batcher.Lost:
		return leaseLost
	case isCommit && e.Class == batcher.Moved:
		return moved
	default:
		return failed
	}
}

// apply reads and commits for one term. It returns nil when intake ended, or the term's own did, and everything read is committed, else why
// the term is over; unread is whether that was the log's reader.
func (w *worker) apply(intake, hard context.Context, term Term, orphan bool) (unread bool, err error) {
	b := w.deps.Batcher(batcher.Start{Partition: w.partition, Epoch: term.Epoch, Position: term.Position})
	life, cut := context.WithCancelCause(hard)
	defer cut(nil)

	// Reading ends with intake, with the term, or when the partition is handed over.
	reading, stopReading := context.WithCancelCause(intake)
	defer stopReading(nil)
	w.begin(term, b, cut, stopReading, orphan)
	defer context.AfterFunc(life, func() { stopReading(context.Cause(life)) })()
	defer context.AfterFunc(reading, func() {
		if errors.Is(context.Cause(reading), errGiving) { // what is not committed by then the other reads again
			late := time.AfterFunc(w.cfg.Lease, func() { cut(errNotDrained) })
			context.AfterFunc(life, func() { late.Stop() })
		}
	})()

	var reader sync.WaitGroup
	reader.Go(func() {
		full := false // the batcher takes no more: its term is over
		err := w.deps.Log.Read(reading, w.partition, term.Place(), func(ctx context.Context, ev wire.Event) error {
			if err := b.Add(ctx, ev); err != nil {
				full = true
				return err //nolint:wrapcheck // the batcher's own words.
			}
			w.last.Store(ev.Message.Sequence)
			return nil
		}, w.pending.Store)
		if why := context.Cause(reading); !errors.Is(why, errStopping) && !errors.Is(why, errGiving) {
			// Not our doing: what was read so far is read again by the next term.
			unread = why == nil && !full && !errors.Is(err, ErrAgain)
			cut(fmt.Errorf("read partition %d: %w", w.partition, err))
		}
		b.Close()
	})
	err = b.Run(life)
	if err == nil { // drained: because reading was ended, or because the term was cut while the queue happened to be empty
		err = context.Cause(life)
	}
	cut(err)
	reader.Wait()
	return unread, err
}

// releaseWait bounds a release: a shutdown waits for it after all else was cut, however long a lease is.
const releaseWait = 3 * time.Second

// release ends a term in the database, so that nobody has to wait for the lease to run out.
func (w *worker) release(hard context.Context, term Term) {
	w.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), min(w.cfg.Lease/3, releaseWait))
	defer cancel()
	if err := w.deps.Leases.Release(ctx, term); err != nil {
		w.deps.Logger.Warn("lease was not released", zap.Int("partition", w.partition), zap.Error(err),
			zap.String("hint", "the next owner waits until it runs out"))
		return
	}
	w.deps.Tell()
}

func (w *worker) begin(t Term, b *batcher.Batcher, cut, quit context.CancelCauseFunc, orphan bool) {
	w.pending.Store(0)
	w.last.Store(t.Position)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.batcher, w.cut, w.quit = &t, b, cut, quit
	w.doing, w.orphan, w.held = applying, orphan, true
	w.state, w.since, w.err = Applying, time.Now(), nil
}

func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.batcher, w.cut, w.quit = nil, nil, nil, nil
}
