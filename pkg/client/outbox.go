package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/persistd/persistd/internal/wire"
)

// maxEvents is how many events one call leases, and how many ids one request marks.
const maxEvents = 1000

func (s *store[S]) PendingEvents(ctx context.Context, limit int) ([]Event, error) {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if limit <= 0 || limit > maxEvents {
		limit = maxEvents
	}
	var found []wire.OutboxRecord
	if err == nil {
		found, err = s.backend.claim(ctx, wire.EventsRequest{Limit: limit, LeaseMS: s.eventLease.Milliseconds(), Holder: s.holder})
	}
	if err != nil {
		return nil, newError(opPending, "", 0, err)
	}
	events := make([]Event, len(found))
	for i, r := range found {
		events[i] = decodeEvent(r)
	}
	return events, nil
}

// decodeEvent is what the outbox holds as an event. Data that is none, which the protocol allows, must not hold up the others: it is the
// event's [MetaData].
func decodeEvent(r wire.OutboxRecord) (ev Event) {
	if json.Unmarshal(r.Data, &ev) != nil {
		var data any
		_ = json.Unmarshal(r.Data, &data) // the column is JSON
		ev = Event{Meta: map[string]any{MetaData: data}}
	}
	if ev.Meta == nil {
		ev.Meta = map[string]any{}
	}
	ev.RunID, ev.Meta[MetaEventID] = r.RunID, r.EventID
	return ev
}

func (s *store[S]) MarkEventsEmitted(ctx context.Context, ids []string) error {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err != nil {
		return newError(opMark, "", 0, err)
	}
	// An id that cannot be stored is no event's; the database would take one with a trailing space for that without.
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return wire.CheckID(id) != nil })
	for from := 0; from < len(ids); from += maxEvents {
		if err := s.backend.markEmitted(ctx, ids[from:min(from+maxEvents, len(ids))]); err != nil {
			return newError(opMark, "", 0, fmt.Errorf("ids from the %d-th of %d: %w", from+1, len(ids), err))
		}
	}
	return nil
}

func (b *builder[S]) SaveEvents(events ...Event) error {
	for i := range events {
		if err := b.event(events[i]); err != nil {
			return b.fail(fmt.Errorf("event %d: %w", i+1, err))
		}
	}
	return nil
}

// event adds an outbox event. Its id is in its row, and not again in its data.
func (b *builder[S]) event(ev Event) error {
	if ev.RunID != "" {
		if err := b.of(ev.RunID); err != nil {
			return err
		}
	}
	op := wire.Op{Type: wire.OpOutbox, ID: rand.Text()}
	if id, ok := ev.Meta[MetaEventID]; ok {
		if op.ID, ok = id.(string); !ok {
			return &fault{kind: ErrInvalidID, err: fmt.Errorf("event id is a %T, not a string", id)}
		}
		if err := wire.CheckID(op.ID); err != nil {
			return &fault{kind: ErrInvalidID, err: fmt.Errorf("event %w", err)}
		}
	}
	ev.Meta = withoutID(ev.Meta)
	data, err := json.Marshal(ev)
	if err != nil {
		return &fault{kind: ErrInvalidState, err: fmt.Errorf("marshal event: %w", err)}
	}
	if err := wire.CheckState(data, b.maxDepth); err != nil {
		return stateFault(err)
	}
	op.State = data
	return b.add(op, op)
}

// nameEvents writes the run into those events that did not say it: whoever reads them by SQL finds it there, and a retry that says it is
// the same content.
func (b *builder[S]) nameEvents() {
	const nameless = `{"RunID":""`
	for i := range b.ops {
		if op := &b.ops[i]; op.Type == wire.OpOutbox && bytes.HasPrefix(op.State, []byte(nameless)) {
			name, err := json.Marshal(b.runID)
			if err != nil {
				panic(fmt.Sprintf("assertion: marshal checked id: %v", err))
			}
			op.State = slices.Concat([]byte(`{"RunID":`), name, op.State[len(nameless):])
			if b.keyed {
				b.plain[i].State = op.State
			}
		}
	}
}

// withoutID is meta without the event's id, which has a place of its own; nil when that is all there is.
func withoutID(meta map[string]any) map[string]any {
	if _, ok := meta[MetaEventID]; ok {
		meta = maps.Clone(meta)
		delete(meta, MetaEventID)
	}
	if len(meta) == 0 {
		return nil
	}
	return meta
}
