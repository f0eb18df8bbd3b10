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

// poisoned commits a batch of which some events were poison before it was tried, and are kept nowhere yet.
func (b *Batcher) poisoned(ctx context.Context, batch *Batch, begin time.Time) error {
	retry := b.retries()
	for {
		poison, first := poisonOf(batch.Events)
		if len(poison) == 0 {
			return b.commit(ctx, batch, begin)
		}
		way := b.deps.Circuit.admit(poison, writers(batch.Events))
		upTo := len(batch.Events) // what is done now; the rest in the next round
		switch {
		case way == probing:
			poison, upTo = poison[:1], first+1
		case way == held && first > 0:
			poison, upTo = nil, first
		case way == held:
			if err := b.wait(ctx, retry.NextBackOff(), b.deps.Circuit.refusal()); err != nil {
				return err
			}
			b.gather(batch, 0, 0) // what came since may show that not everything is poison
			continue
		}
		if err := b.bury(ctx, poison); err != nil {
			return err
		}
		rest := batch.Events[upTo:]
		if err := b.commit(ctx, b.part(batch.Events[:upTo:upTo]), begin); err != nil || len(rest) == 0 {
			return err
		}
		batch = b.part(rest)
	}
}

// poisonOf are the events that are poison, and where the first one is.
func poisonOf(events []*wire.Event) (poison []*wire.Event, first int) {
	for i, ev := range events {
		if ev.Poison == nil {
			continue
		}
		if poison == nil {
			first = i
		}
		poison = append(poison, ev)
	}
	return poison, first
}

// writers counts the events that are not poison.
func writers(events []*wire.Event) (n int) {
	for _, ev := range events {
		if ev.Poison == nil {
			n++
		}
	}
	return n
}

// placeOf is where ev is in batch.
func placeOf(batch *Batch, ev *wire.Event) int {
	return slices.IndexFunc(batch.Events, func(x *wire.Event) bool { return x.Message.Sequence == ev.Message.Sequence })
}

// split commits the two halves of a batch that the database refused, one after the other. The event at fault is found in log₂ steps,
// and all others commit. It is for what the store cannot tell whose fault it is.
func (b *Batcher) split(ctx context.Context, batch *Batch, begin time.Time) error {
	b.deps.Metrics.splits.Inc()
	half := len(batch.Events) / 2
	return b.commitAll(ctx, begin, batch.Events[:half], batch.Events[half:])
}

// commitAll commits parts of a batch, one after the other.
func (b *Batcher) commitAll(ctx context.Context, begin time.Time, parts ...[]*wire.Event) error {
	for _, events := range parts {
		if len(events) == 0 {
			continue
		}
		if err := b.commit(ctx, b.part(events), begin); err != nil {
			return err
		}
	}
	return nil
}

// without is the batch with the refused events made poison, and those events: the ones that were not poison before. Their bytes stay
// counted, as they stay in memory until the position has passed them.
func without(batch *Batch, why map[uint64]wire.Poison) (rest *Batch, refused []*wire.Event) {
	rest = &Batch{Partition: batch.Partition, Epoch: batch.Epoch, After: batch.After, Bytes: batch.Bytes, Events: slices.Clone(batch.Events)}
	for i, ev := range rest.Events {
		if reason, ok := why[ev.Message.Sequence]; ok && ev.Poison == nil {
			poison := *ev // the event itself is the batch's too, as it was
			poison.Ops, poison.Poison = nil, &reason
			rest.Events[i], ev = &poison, &poison
			refused = append(refused, ev)
		}
		rest.Rows += len(ev.Ops)
	}
	return rest, refused
}

// refuse goes on with a batch of which the store refused some events, the first of them at at; rest are its events with those made poison.
//
//	admitted → keep dead letters of all refused, commit the rest. That may be refused again, for others: each round makes at least
//	           one more event poison, so there are at most as many rounds as events
//	probing  → the same with the first of them, and what is behind it as it was
//	held     → commit what is before the first, and what is from there on as it was: it will wait
func (b *Batcher) refuse(ctx context.Context, way passage, events, rest, refused []*wire.Event, at int, begin time.Time) error {
	switch way {
	case held:
		return b.commitAll(ctx, begin, events[:at], events[at:])
	case probing:
		if err := b.bury(ctx, refused[:1]); err != nil {
			return err
		}
		return b.commitAll(ctx, begin, slices.Concat(events[:at], rest[at:at+1]), events[at+1:])
	case admitted:
	}
	if err := b.bury(ctx, refused); err != nil {
		return err
	}
	return b.commitAll(ctx, begin, rest)
}

// bury keeps dead letters of poison, for as long as it takes: the position must not pass an event that is kept nowhere.
func (b *Batcher) bury(ctx context.Context, poison []*wire.Event) error {
	if len(poison) == 0 {
		return nil
	}
	bytes := 0
	for _, ev := range poison {
		bytes += ev.Size
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
	b.kept(poison)
	return nil
}

// kept counts letters, and says so: once for all of them, however many they are.
func (b *Batcher) kept(poison []*wire.Event) {
	codes := map[string]int{}
	for _, ev := range poison {
		codes[ev.Poison.Code]++
		b.deps.Metrics.deadLetters.WithLabelValues(ev.Poison.Code).Inc()
	}
	first := poison[0]
	fields := []zap.Field{
		zap.Int("partition", b.start.Partition), zap.Int("letters", len(poison)), zap.Uint64("sequence", first.Message.Sequence),
		zap.String("subject", first.Message.Subject), zap.String("code", first.Poison.Code), zap.String("reason", first.Poison.Reason),
	}
	if len(poison) > 1 {
		fields = append(fields, zap.Uint64("last_sequence", poison[len(poison)-1].Message.Sequence), zap.Any("codes", codes),
			zap.String("hint", "what is said is of the first; persistd dlq ls has all"))
	}
	b.deps.Log.Warn("events kept as dead letters", fields...)
}
