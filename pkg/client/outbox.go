package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/persistd/persistd/internal/wire"
)

// maxEvents is how many events one call leases, and how many ids one request marks.
const maxEvents = 1000

func (s *store[S]) PendingEvents(ctx context.Context, limit int) ([]Event, error) {
	ctx, cancel := s.withDeadline(ctx)
	defer cancel()
	if limit <= 0 || limit > maxEvents {
		limit = maxEvents
	}
	found, err := s.backend.claim(ctx, wire.EventsRequest{Limit: limit, LeaseMS: s.eventLease.Milliseconds(), Holder: s.holder})
	if err != nil {
		return nil, newError(opPending, "", 0, err)
	}
	events := make([]Event, len(found))
	for i, r := range found {
		if err := json.Unmarshal(r.Data, &events[i]); err != nil {
			return nil, newError(opPending, r.RunID, 0, &fault{kind: ErrInvalidState, err: fmt.Errorf("unmarshal event %.300q: %w", r.EventID, err)})
		}
		if events[i].Meta == nil {
			events[i].Meta = map[string]any{}
		}
		events[i].RunID, events[i].Meta[MetaEventID] = r.RunID, r.EventID
	}
	return events, nil
}

func (s *store[S]) MarkEventsEmitted(ctx context.Context, ids []string) error {
	ctx, cancel := s.withDeadline(ctx)
	defer cancel()
	for from := 0; from < len(ids); from += maxEvents {
		if err := s.backend.markEmitted(ctx, ids[from:min(from+maxEvents, len(ids))]); err != nil {
			return newError(opMark, "", 0, fmt.Errorf("ids from the %d-th of %d: %w", from+1, len(ids), err))
		}
	}
	return nil
}

// withoutID is meta without the event's id, which has a place of its own; nil when that is all there is.
func withoutID(meta map[string]any) map[string]any {
	if _, ok := meta[MetaEventID]; !ok {
		return meta
	}
	meta = maps.Clone(meta)
	delete(meta, MetaEventID)
	return meta
}
