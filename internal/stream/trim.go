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
//	last  ← the partition's newest event below min(young, position+1)
//	        logged after the event at position: the log lost its end, and last was never committed. Stop.
//	mark, durably: position is reached, what is up to last is trimmed    (crash here: the mark says more than is true of the log, and
//	                                                                      not more than is committed)
//	check that the stream is still the one that position belongs to
//	purge the partition's events up to last                              (crash before: the next round does it)
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
	fail := func(err error) error { return fmt.Errorf("trim partition %d: %w", partition, err) }
	info, err := s.Info(ctx)
	if err != nil {
		return fail(err)
	}
	old, err := s.old(ctx, partition, position, before, info.First)
	if err != nil {
		return fail(err)
	}
	if !position.Logged.IsZero() && old.Logged.Truncate(time.Microsecond).After(position.Logged) {
		return fail(&ShortError{Stream: s.cfg.Name, Partition: partition, Position: position, Last: info.Last, LastLogged: info.LastLogged, Found: old})
	}
	reached := position
	if reached.Logged.IsZero() {
		reached = wire.Place{} // somebody set it by hand, perhaps to where no event is
	}
	if err := s.marks.advance(ctx, partition, reached, old, info.Last); err != nil {
		return fail(err)
	}
	if old.Sequence == 0 {
		return nil
	}
	if _, err := s.Info(ctx); err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	st, err := s.js.Stream(ctx, s.cfg.Name)
	if err != nil {
		return fail(err)
	}
	keep := old.Sequence + 1 // at least 2: some servers take a purge below 1 as a purge of everything
	if err := st.Purge(ctx, jetstream.WithPurgeSubject(s.cfg.Subjects.LogPartition(partition)), jetstream.WithPurgeSequence(keep)); err != nil {
		return fmt.Errorf("trim partition %d below %d: %w", partition, keep, err)
	}
	s.log.Debug("trimmed partition", zap.Int("partition", partition), zap.Uint64("below", keep))
	return nil
}

// old is the partition's newest event that is to be trimmed; the zero place when there is none.
func (s *Stream) old(ctx context.Context, partition int, position wire.Place, before time.Time, first uint64) (wire.Place, error) {
	filter := s.cfg.Subjects.LogPartition(partition)
	keep := position.Sequence + 1 // the lowest sequence that stays
	switch young, err := s.get.since(ctx, filter, before); {
	case errors.Is(err, errNotFound):
	case err != nil:
		return wire.Place{}, fmt.Errorf("find what is young: %w", err)
	default:
		keep = min(keep, s.begins(young))
	}
	return s.before(ctx, filter, keep, first)
}

// begins is the sequence of the first part of the transaction that m is a part of, or of m itself.
func (s *Stream) begins(m wire.Message) uint64 {
	earlier := uint64(max(1, s.cfg.Subjects.Decode(m).Part.No)) - 1
	return m.Sequence - min(m.Sequence, earlier)
}

// before is the newest event that filter matches below the sequence end; the zero place when there is none. first is the log's first
// sequence. The server only looks forwards, so it is asked from ever further back, and then between: about twice the logarithm of the
// distance.
func (s *Stream) before(ctx context.Context, filter string, end, first uint64) (wire.Place, error) {
	var found wire.Place
	look := func(from, below uint64) (bool, error) {
		m, err := s.get.next(ctx, filter, from)
		if errors.Is(err, errNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("find the event before %d: %w", end, err)
		}
		if m.Sequence < below {
			found = wire.Place{Sequence: m.Sequence, Logged: m.Logged}
			return true, nil
		}
		return false, nil
	}
	if ok, err := look(max(1, first), end); err != nil || !ok {
		return wire.Place{}, err
	}
	none := end // there is nothing from here up to end
	for distance := uint64(1); found.Sequence+1 < none; distance *= 2 {
		from := found.Sequence + 1
		if none-from > distance {
			from = none - distance
		}
		if ok, err := look(from, none); err != nil {
			return wire.Place{}, err
		} else if !ok {
			none = from
			continue
		}
		break
	}
	for found.Sequence+1 < none { // found is the last, or there are more between it and none
		middle := found.Sequence + 1 + (none-found.Sequence-1)/2
		if ok, err := look(middle, none); err != nil {
			return wire.Place{}, err
		} else if !ok {
			none = middle
		}
	}
	return found, nil
}
