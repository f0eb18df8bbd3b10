package batcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// errNobody is a refusal that no event of the batch is left to answer for.
var errNobody = errors.New("store refused no event that it was given to apply")

// split commits the two halves of a batch that the database refused, one after the other. The event at fault is found in log₂ steps,
// and all others commit.
func (b *Batcher) split(ctx context.Context, batch *Batch, begin time.Time) error {
	b.deps.Metrics.splits.Inc()
	half := len(batch.Events) / 2
	for _, events := range [][]wire.Event{batch.Events[:half], batch.Events[half:]} {
		part := &Batch{Partition: batch.Partition, Epoch: batch.Epoch, After: b.position, Events: events}
		for i := range events {
			part.Rows += len(events[i].Ops)
			part.Bytes += events[i].Size
		}
		if err := b.commit(ctx, part, begin); err != nil {
			return err
		}
	}
	return nil
}

// condemn makes poison of the only event of a batch that the database refuses for good, and moves the position past it.
func (b *Batcher) condemn(ctx context.Context, batch *Batch, begin time.Time, e *Error) error {
	ev := batch.Events[0]
	ev.Ops = nil
	ev.Poison = &wire.Poison{Code: wire.CodeDatabase, Reason: e.Error(), ErrorNumber: e.Number}
	if err := b.bury(ctx, []wire.Event{ev}); err != nil {
		return err
	}
	return b.commit(ctx, &Batch{
		Partition: batch.Partition, Epoch: batch.Epoch, After: batch.After, Events: []wire.Event{ev}, Bytes: ev.Size,
	}, begin)
}

// without is the batch with the refused events made poison, and those events: the ones that were not poison before. Their bytes stay
// counted, as they stay in memory until the position has passed them.
func without(batch *Batch, why map[uint64]wire.Poison) (rest *Batch, refused []wire.Event) {
	rest = &Batch{Partition: batch.Partition, Epoch: batch.Epoch, After: batch.After, Bytes: batch.Bytes, Events: slices.Clone(batch.Events)}
	for i := range rest.Events {
		ev := &rest.Events[i]
		if reason, ok := why[ev.Message.Sequence]; ok && ev.Poison == nil {
			ev.Ops, ev.Poison = nil, &reason
			refused = append(refused, *ev)
		}
		rest.Rows += len(ev.Ops)
	}
	return rest, refused
}

// refuse keeps dead letters of the events that the store refused and commits the rest of their batch. That may be refused again, for
// others: each round makes at least one more event poison, so there are at most as many rounds as events.
func (b *Batcher) refuse(ctx context.Context, rest *Batch, refused []wire.Event, begin time.Time) error {
	if err := b.bury(ctx, refused); err != nil {
		return err
	}
	return b.commit(ctx, rest, begin)
}

// bury keeps dead letters of poison, for as long as it takes: the position must not pass an event that is kept nowhere.
func (b *Batcher) bury(ctx context.Context, poison []wire.Event) error {
	bytes := 0
	for i := range poison {
		bytes += poison[i].Size
	}
	retry := b.retries()
	for {
		err := b.timed(ctx, "keep dead letters", 1, bytes, func(ctx context.Context) error { return b.deps.DeadLetters.Put(ctx, poison) })
		if err == nil {
			break
		}
		if context.Cause(ctx) != nil {
			return fmt.Errorf("keep %d dead letters: %w", len(poison), context.Cause(ctx))
		}
		e := &Error{Class: Operator, Err: fmt.Errorf("keep %d dead letters: %w", len(poison), err), Hint: "the dead-letter stream must take them before their partition can go on"}
		if err := b.wait(ctx, retry.NextBackOff(), e); err != nil {
			return err
		}
	}
	for i := range poison {
		b.deps.Metrics.deadLetters.WithLabelValues(poison[i].Poison.Code).Inc()
		b.deps.Log.Warn("event kept as a dead letter",
			zap.Int("partition", b.start.Partition), zap.Uint64("sequence", poison[i].Message.Sequence),
			zap.String("subject", poison[i].Message.Subject), zap.String("code", poison[i].Poison.Code), zap.String("reason", poison[i].Poison.Reason))
	}
	return nil
}
