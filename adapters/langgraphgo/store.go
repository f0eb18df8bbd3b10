package langgraphgo

import (
	"context"

	"github.com/dshills/langgraph-go/graph/emit"
	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/pkg/client"
)

// Store is a LangGraph-Go store on a client.Store. Its methods are documented there: what is said of ids, durability and limits holds here.
// All of them may be called concurrently.
type Store[S any] struct {
	client client.Store[S]
}

var _ store.Store[any] = (*Store[any])(nil)

// New makes a store of st, which the caller goes on owning; [Store.Close] closes it.
func New[S any](st client.Store[S]) *Store[S] { return &Store[S]{client: st} }

// Open is client.Open and [New].
func Open[S any](ctx context.Context, natsURL string, opts ...client.Option) (*Store[S], error) {
	st, err := client.Open[S](ctx, natsURL, opts...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was opened.
	}
	return New(st), nil
}

// Client is the store underneath, for all that LangGraph-Go's interface has no words for: transactions, outbox events, labels, history.
func (s *Store[S]) Client() client.Store[S] { return s.client }

// SaveStep implements store.Store.
func (s *Store[S]) SaveStep(ctx context.Context, runID string, step int, nodeID string, state S) error {
	return told(ctx, s.client.SaveStep(ctx, runID, step, nodeID, state))
}

// LoadLatest implements store.Store. Of a run with attempts it is the highest step of the newest one that has saved any.
func (s *Store[S]) LoadLatest(ctx context.Context, runID string) (state S, step int, err error) {
	state, step, err = s.client.LoadLatest(ctx, runID)
	return state, step, told(ctx, err)
}

// SaveCheckpoint implements store.Store.
func (s *Store[S]) SaveCheckpoint(ctx context.Context, cpID string, state S, step int) error {
	return told(ctx, s.client.SaveCheckpoint(ctx, cpID, state, step))
}

// LoadCheckpoint implements store.Store.
func (s *Store[S]) LoadCheckpoint(ctx context.Context, cpID string) (state S, step int, err error) {
	state, step, err = s.client.LoadCheckpoint(ctx, cpID)
	return state, step, told(ctx, err)
}

// CheckIdempotency implements store.Store. The empty key was never used.
func (s *Store[S]) CheckIdempotency(ctx context.Context, key string) (bool, error) {
	used, err := s.client.CheckIdempotency(ctx, key)
	return used, told(ctx, err)
}

// PendingEvents implements store.Store. Each event has its id, which MarkEventsEmitted takes, in Meta["event_id"]. What it returns is leased to
// this store for a while: see client.WithEventLease. A limit of 0 or less, or above 1000, is 1000.
func (s *Store[S]) PendingEvents(ctx context.Context, limit int) ([]emit.Event, error) {
	pending, err := s.client.PendingEvents(ctx, limit)
	if err != nil {
		return nil, told(ctx, err)
	}
	events := make([]emit.Event, len(pending))
	for i := range pending {
		events[i] = emit.Event(pending[i])
	}
	return events, nil
}

// MarkEventsEmitted implements store.Store.
func (s *Store[S]) MarkEventsEmitted(ctx context.Context, eventIDs []string) error {
	return told(ctx, s.client.MarkEventsEmitted(ctx, eventIDs))
}

// Ping checks that the store would work.
func (s *Store[S]) Ping(ctx context.Context) error {
	return s.client.Ping(ctx) //nolint:wrapcheck // it says what was asked.
}

// Close flushes and closes the store underneath. It may be called again.
func (s *Store[S]) Close() error {
	return s.client.Close() //nolint:wrapcheck // it says what was closed.
}
