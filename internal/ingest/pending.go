package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Pending is how many events of partition the log holds above the sequence after. The server counts them when it makes a consumer;
// this one is never read from. A Read whose deliver blocks learns nothing, so whoever wants to know asks here.
func (r *Reader) Pending(ctx context.Context, partition int, after uint64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	c, err := r.js.CreateConsumer(ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		Description:       "Counts what a partition of persistd has pending; not needed",
		FilterSubject:     r.cfg.Subjects.LogPartition(partition),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: time.Second, // the server forgets it if we do not get to delete it
		Replicas:          1,
		MemoryStorage:     true,
	})
	if err != nil {
		return 0, fmt.Errorf("count events of partition %d after %d: %w", partition, after, err)
	}
	info := c.CachedInfo()
	if err := r.js.DeleteConsumer(ctx, r.cfg.Stream, info.Name); err != nil {
		return 0, fmt.Errorf("delete consumer that counted: %w", err)
	}
	return int64(min(info.NumPending, 1<<62)), nil
}
