package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// After is the sequence after which a reader of partition finds its events from the sequence from on: the one before the first of them. The
// transaction in parts that has one of them is found from its first part. found is false when the log has nothing there (any more).
func (s *Stream) After(ctx context.Context, partition int, from uint64) (after uint64, found bool, err error) {
	m, err := s.get.next(ctx, s.cfg.Subjects.LogPartition(partition), max(1, from))
	return s.justBefore(partition, m, err)
}

// Since is as [Stream.After], of the events that were logged at or after t.
func (s *Stream) Since(ctx context.Context, partition int, t time.Time) (after uint64, found bool, err error) {
	m, err := s.get.since(ctx, s.cfg.Subjects.LogPartition(partition), t)
	return s.justBefore(partition, m, err)
}

// End is the sequence of the last message of partition; 0 when there is none.
func (s *Stream) End(ctx context.Context, partition int) (uint64, error) {
	m, err := s.get.last(ctx, s.cfg.Subjects.LogPartition(partition))
	switch {
	case errors.Is(err, errNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("find end of partition %d: %w", partition, err)
	}
	return m.Sequence, nil
}

func (s *Stream) justBefore(partition int, m wire.Message, err error) (after uint64, found bool, _ error) {
	switch {
	case errors.Is(err, errNotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("find beginning in partition %d: %w", partition, err)
	}
	return max(1, s.begins(m)) - 1, true, nil // there may be less before a stray part than its number says
}

// Event is the event that has the sequence seq: a message, or the transaction in parts of which it is the last. found is false when the log has
// none of that sequence (any more), or only a part of one.
func (s *Stream) Event(ctx context.Context, seq uint64) (ev wire.Event, found bool, err error) {
	last, err := s.get.seq(ctx, seq)
	switch {
	case errors.Is(err, errNotFound):
		return ev, false, nil
	case err != nil:
		return ev, false, fmt.Errorf("find event %d: %w", seq, err)
	}
	ev = s.cfg.Subjects.Decode(last)
	if ev.Part.Transaction == "" {
		return ev, true, nil
	}
	if !ev.Part.Last() || s.begins(last) == 0 {
		return ev, false, nil
	}
	parts := make([]wire.Event, 0, ev.Part.Of)
	for at := s.begins(last); at < seq; at++ {
		m, err := s.get.seq(ctx, at)
		if errors.Is(err, errNotFound) {
			return ev, false, nil
		} else if err != nil {
			return ev, false, fmt.Errorf("find event %d: %w", at, err)
		}
		p := s.cfg.Subjects.Decode(m)
		if p.Part.Transaction != ev.Part.Transaction || p.Part.No != len(parts)+1 {
			return ev, false, nil
		}
		parts = append(parts, p)
	}
	return wire.Join(append(parts, ev)), true, nil
}

// CopiedUntil is the sequence of the last event that was in the log before the stream was made: of one that was restored from a snapshot under
// another time; 0 when there is none.
func (s *Stream) CopiedUntil(ctx context.Context) (uint64, error) {
	info, err := s.Info(ctx)
	if err != nil || info.Last == 0 {
		return 0, err
	}
	m, err := s.get.since(ctx, ">", s.created)
	switch {
	case errors.Is(err, errNotFound):
		return info.Last, nil
	case err != nil:
		return 0, fmt.Errorf("look for the first event since the stream was made: %w", err)
	}
	if m.Sequence == info.First { // what was before it, if anything, is trimmed
		return 0, nil
	}
	return m.Sequence - 1, nil
}
