package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// Trim removes the partition's events that are at or below position and were logged before the time before; events of other
// partitions stay. It is idempotent. position must be what is committed in MySQL: what is trimmed is there or nowhere (I1).
//
//	young ← the partition's oldest event logged at or after before, from the leader   (none: all of it is old)
//	        a later part of a transaction: the transaction's first
//	check that the stream is still the one that position belongs to
//	purge the partition's events below min(young, position+1)
//
// Should the stream be made anew between the last two, its events are younger than before by then, for all but a replay window of
// milliseconds; and that is why young is looked for first.
//
// A transaction in parts is cut in two by neither bound: a position never is within one, and of one that was logged at the time before
// all parts stay. That holds for parts with nothing between them, as an atomic batch has them. Of others the first may be trimmed
// alone; they are committed then, and whoever reads the rest has a position that is past it.
func (s *Stream) Trim(ctx context.Context, partition int, position wire.Place, before time.Time) error {
	if position.Sequence == 0 {
		return nil
	}
	filter := s.cfg.Subjects.LogPartition(partition)
	keep := position.Sequence + 1 // the lowest sequence that stays
	switch young, err := s.get.since(ctx, filter, before); {
	case errors.Is(err, errNotFound):
	case err != nil:
		return fmt.Errorf("trim partition %d: find what is young: %w", partition, err)
	default:
		keep = min(keep, s.begins(young))
	}
	if keep <= 1 {
		return nil // some servers take a purge below 1 as a purge of everything
	}
	if _, err := s.Info(ctx); err != nil {
		return fmt.Errorf("trim partition %d: %w", partition, err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	st, err := s.js.Stream(ctx, s.cfg.Name)
	if err != nil {
		return fmt.Errorf("trim partition %d: %w", partition, err)
	}
	if err := st.Purge(ctx, jetstream.WithPurgeSubject(filter), jetstream.WithPurgeSequence(keep)); err != nil {
		return fmt.Errorf("trim partition %d below %d: %w", partition, keep, err)
	}
	s.log.Debug("trimmed partition", zap.Int("partition", partition), zap.Uint64("below", keep))
	return nil
}

// begins is the sequence of the first part of the transaction that m is a part of, or of m itself.
func (s *Stream) begins(m wire.Message) uint64 {
	earlier := uint64(max(1, s.cfg.Subjects.Decode(m).Part.No)) - 1
	return m.Sequence - min(m.Sequence, earlier)
}
