package readpath

import (
	"context"

	"github.com/persistd/persistd/internal/wire"
)

// Claim leases pending outbox events; see [wire.EventsRequest].
func (r *Reader) Claim(ctx context.Context, namespace string, q wire.EventsRequest) ([]wire.OutboxRecord, error) {
	if err := r.checkNamespace(namespace); err != nil {
		return nil, err
	}
	return r.Outbox.Claim(ctx, q)
}

// MarkEmitted marks outbox events as emitted and returns how many were not yet. Ids that do not exist are passed over.
func (r *Reader) MarkEmitted(ctx context.Context, namespace string, ids []string) (int64, error) {
	if err := r.checkNamespace(namespace); err != nil {
		return 0, err
	}
	known := make([]string, 0, len(ids))
	for _, id := range ids {
		// One that cannot exist must not reach the database, which would take it for another.
		if wire.CheckID(id) == nil {
			known = append(known, id)
		}
	}
	if len(known) == 0 {
		return 0, nil
	}
	return r.Outbox.MarkEmitted(ctx, known)
}
