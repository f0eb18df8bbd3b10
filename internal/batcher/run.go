package batcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// Run commits what is added until Close was called and the queue is empty (nil), ctx ends (its cause), or the term is over (an *[Error]
// of class [Lost] or [Moved]). What is then left in the queue was not written, and is still in the log.
func (b *Batcher) Run(ctx context.Context) error {
	for {
		first, ok, err := b.next(ctx)
		if err != nil || !ok {
			return err
		}
		b.oldest.Store(first.Message.Logged.UnixNano())
		if err := b.take(ctx, first); err != nil {
			return err
		}
	}
}

// next waits for an event; ok is false when there will be none.
func (b *Batcher) next(ctx context.Context) (ev *wire.Event, ok bool, err error) {
	if b.carry != nil {
		ev, b.carry = b.carry, nil
		return ev, true, nil
	}
	select {
	case ev, ok = <-b.queue:
		return ev, ok, nil
	default:
	}
	b.oldest.Store(0)
	b.enter(Idle, nil)
	select {
	case ev, ok = <-b.queue:
		return ev, ok, nil
	case <-ctx.Done():
		return ev, false, context.Cause(ctx)
	}
}

// take commits a batch that begins with first.
func (b *Batcher) take(ctx context.Context, first *wire.Event) error {
	b.enter(Committing, nil)
	if err := b.linger(ctx, first); err != nil {
		return err
	}
	begin := time.Now()
	// The array is the batch's own: a store that was given up on may still look at it.
	batch := b.part(append(make([]*wire.Event, 0, min(len(b.queue)+1, b.cfg.MaxRows)), first))
	b.waits.sub(first)
	p, err := b.deps.Gate.enter(ctx, &turn{b: b, batch: batch})
	if err != nil {
		return err
	}
	b.began = p.at
	joined, err := p.joined, p.err
	if len(p.with) > 0 {
		joined, err = true, b.together(ctx, batch, p)
	}
	switch {
	case joined && err == nil:
		return b.settle(ctx, batch, begin, nil)
	case joined: // whose fault it was each finds out alone, and whether it was committed all the same
		return b.commit(ctx, batch, begin)
	}
	b.gather(batch, 0, 0)
	if poison, _ := poisonOf(batch.Events); len(poison) > 0 {
		b.deps.Gate.leave(p) // a dead letter can be long in coming; the other partitions' commits go on
		return b.poisoned(ctx, batch, begin)
	}
	err = b.attempt(ctx, batch, 1)
	b.deps.Gate.leave(p)
	return b.settle(ctx, batch, begin, err)
}

// part is a batch of events, which continue from the position.
func (b *Batcher) part(events []*wire.Event) *Batch {
	batch := &Batch{Partition: b.start.Partition, Epoch: b.start.Epoch, After: b.position, Events: events}
	for _, ev := range events {
		batch.Rows += len(ev.Ops)
		batch.Bytes += ev.Size
	}
	return batch
}

// gather adds to a batch what is queued behind it, as far as the bounds go when others have so many rows and bytes in its transaction already.
func (b *Batcher) gather(batch *Batch, rows, bytes int) {
	for {
		if b.carry == nil {
			select {
			case ev, ok := <-b.queue:
				if !ok {
					return
				}
				b.carry = ev
			default:
				return
			}
		}
		ev := b.carry
		if rows+batch.Rows+len(ev.Ops) > b.cfg.MaxRows || bytes+batch.Bytes+ev.Size > b.cfg.MaxBytes || len(batch.Events) >= b.cfg.MaxRows {
			return
		}
		b.carry = nil
		b.waits.sub(ev)
		batch.Events = append(batch.Events, ev)
		batch.Rows += len(ev.Ops)
		batch.Bytes += ev.Size
	}
}

// commit commits a batch whose poison has its dead letters, whatever it takes.
func (b *Batcher) commit(ctx context.Context, batch *Batch, begin time.Time) error {
	p, err := b.deps.Gate.enter(ctx, &turn{b: b, batch: batch, alone: true})
	if err != nil {
		return err
	}
	err = b.attempt(ctx, batch, 1)
	b.deps.Gate.leave(p)
	return b.settle(ctx, batch, begin, err)
}

// settle does what the outcome of the first attempt asks for, until the batch is committed or the term is over.
func (b *Batcher) settle(ctx context.Context, batch *Batch, begin time.Time, err error) error {
	retry, times, wasHeld := b.retries(), 1, false
	for err != nil {
		e := classify(err)
		switch {
		case context.Cause(ctx) != nil:
			return fmt.Errorf("commit batch of %d events: %w", len(batch.Events), context.Cause(ctx))
		case e.Class == Lost || e.Class == Moved:
			return fmt.Errorf("commit batch of %d events: %w", len(batch.Events), e)
		case e.Class == Never && len(batch.Events) > 1:
			return b.split(ctx, batch, begin)
		case e.Class == Never && batch.Rows > 0: // it stands alone: it is the one
			e = &Error{Class: Refused, Number: e.Number, Err: e.Err, Refused: map[uint64]wire.Poison{
				batch.Last(): {Code: wire.CodeDatabase, Reason: e.Error(), ErrorNumber: e.Number},
			}}
			fallthrough
		case e.Class == Refused:
			rest, refused := without(batch, e.Refused)
			if len(refused) == 0 {
				// Nobody new is named: the same commit would only be refused again. The store is at fault, and somebody may mend it.
				e = &Error{Class: Again, Number: e.Number, Hint: e.Hint, Err: errors.Join(errNobody, e.Err)}
				break
			}
			way, at := b.deps.Circuit.admit(refused, writers(rest.Events)), placeOf(batch, refused[0])
			if way != held || at > 0 {
				return b.refuse(ctx, way, batch.Events, rest.Events, refused, at, begin)
			}
			e, wasHeld = b.deps.Circuit.refusal(), true // try the same again: it may be mended by then
		}
		// Again and Operator. Never without a row is the database refusing the position itself: nobody's event is at fault.
		if err := b.wait(ctx, retry.NextBackOff(), e); err != nil {
			return err
		}
		p, over := b.deps.Gate.enter(ctx, &turn{b: b, batch: batch, alone: true})
		if over != nil {
			return over
		}
		times = longer(times, batch, err)
		err = b.attempt(ctx, batch, times)
		b.deps.Gate.leave(p)
	}
	good := writers(batch.Events)
	b.committed(batch, begin)
	b.deps.Circuit.committed(good, wasHeld)
	return nil
}

// committed is the bookkeeping of a batch that is in the database.
func (b *Batcher) committed(batch *Batch, begin time.Time) {
	m := b.deps.Metrics
	m.commitSeconds.Observe(time.Since(begin).Seconds())
	m.batchRows.Observe(float64(batch.Rows))
	m.batchBytes.Observe(float64(batch.Bytes))
	m.committedEvents.Add(float64(len(batch.Events)))
	m.committedRows.Add(float64(batch.Rows))
	done := Committed{Partition: b.start.Partition, From: batch.After, To: batch.Last()}
	for _, ev := range batch.Events {
		if ev.Poison != nil {
			done.Poison = append(done.Poison, ev)
		}
	}
	b.position = done.To
	b.reached.Set(float64(done.To))
	b.release(batch.Events)
	if b.deps.OnCommit != nil {
		b.deps.OnCommit(done)
	}
}

// attempt tries once to commit, within so many times the usual time.
func (b *Batcher) attempt(ctx context.Context, batch *Batch, times int) error {
	b.enter(Committing, nil)
	err := b.timed(ctx, "commit", times, batch.Bytes, func(ctx context.Context) error { return b.deps.Store.Commit(ctx, batch) })
	if err == nil {
		b.deps.Metrics.transactionBatches.Observe(1)
	}
	return err
}

// timeout is an attempt that was cut off.
type timeout struct {
	what  string
	after time.Duration
}

func (t *timeout) Error() string { return fmt.Sprintf("%s timed out after %s", t.what, t.after) }

// timed runs one attempt on so many bytes within its time, whose end has a name of its own.
func (b *Batcher) timed(ctx context.Context, what string, times, bytes int, f func(context.Context) error) error {
	limit := &timeout{what, time.Duration(times)*b.cfg.AttemptTimeout + time.Duration(bytes>>20)*time.Second}
	ctx, cancel := context.WithTimeoutCause(ctx, limit.after, limit)
	defer cancel()
	err := f(ctx)
	if err != nil && errors.Is(context.Cause(ctx), limit) {
		return errors.Join(limit, err)
	}
	return err
}

// longest is how many times the usual time an attempt gets at most.
const longest = 16

// longer is how many times the usual time the next attempt gets, after one that failed with err. How much a deletion has to do its event
// does not show: one that was cut off gets twice the time, or it would never get there. Other batches' bytes tell, and a server that hangs
// is not to be waited for longer each time.
func longer(times int, batch *Batch, err error) int {
	if _, cut := errors.AsType[*timeout](err); !cut || times >= longest || !deletes(batch) {
		return times
	}
	return 2 * times
}

func deletes(batch *Batch) bool {
	for _, ev := range batch.Events {
		for j := range ev.Ops {
			if ev.Ops[j].Type == wire.OpDeleteRun {
				return true
			}
		}
	}
	return false
}

// wait pauses before the next attempt.
func (b *Batcher) wait(ctx context.Context, pause time.Duration, e *Error) error {
	b.enter(Waiting, e)
	b.deps.Metrics.retries.WithLabelValues(e.Class.String()).Inc()
	say := b.deps.Log.Warn
	if errors.Is(e.Err, errHeld) { // which the circuit has said, once for all partitions
		say = b.deps.Log.Debug
	}
	say("attempt failed, trying again", zap.Int("partition", b.start.Partition), zap.Stringer("class", e.Class),
		zap.Uint16("error_number", e.Number), zap.Duration("pause", pause), zap.String("hint", e.Hint), zap.Error(e.Err))
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to try again: %w", context.Cause(ctx))
	}
}

// retries is the sequence of pauses of one batch. It never ends: an outage is not poison.
func (b *Batcher) retries() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(b.cfg.RetryMin), backoff.WithMaxInterval(b.cfg.RetryMax), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(b.cfg.Jitter), backoff.WithMaxElapsedTime(0))
}

// classify is the store's word on err; an error it did not classify passes by itself.
func classify(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Class: Again, Err: err}
}
