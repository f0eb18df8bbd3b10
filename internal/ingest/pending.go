package ingest

import (
	"context"
	"fmt"
)

// Pending is how many events of partition the log holds above the sequence after. A Read whose deliver blocks learns nothing, so whoever
// wants to know asks here.
func (r *Reader) Pending(ctx context.Context, partition int, after uint64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	n, err := r.server.Pending(ctx, partition, after)
	if err != nil {
		return 0, fmt.Errorf("count events of partition %d after %d: %w", partition, after, err)
	}
	return n, nil
}
