package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// ErrShort says that the log lost its end: it ends before a position, or gives sequences out again that were committed already.
var ErrShort = errors.New("log lost its end")

// ShortError is a log that lost its end, as one partition's position shows it.
type ShortError struct {
	Stream string
	// Partition is -1 when it is the log as a whole that was watched: Position is then its last event.
	Partition int
	// Position is the partition's position in the database.
	Position wire.Place
	// Last is the log's last sequence, logged at LastLogged.
	Last       uint64
	LastLogged time.Time
	// Found is the event by which it shows where the log has grown past the position again; the zero place where it ends before it.
	Found wire.Place
	// Restored says that the log holds events which it had trimmed: it is an older copy of itself, not one that lost its end in a power cut.
	Restored bool
}

// Unwrap is [ErrShort].
func (e *ShortError) Unwrap() error { return ErrShort }

// Error says what is there and what was expected.
func (e *ShortError) Error() string {
	how := "a power cut without sync_interval: always, or an older copy of the stream restored"
	if e.Restored {
		how = "an older copy of the stream was restored: events that were trimmed are back"
	}
	at := fmt.Sprintf("partition %d is committed up to %d", e.Partition, e.Position.Sequence)
	if e.Partition < 0 {
		at = fmt.Sprintf("its last event was %d", e.Position.Sequence)
	}
	if !e.Position.Logged.IsZero() {
		at += ", logged at " + stamp(e.Position.Logged)
	}
	if e.Found.Sequence == 0 {
		return fmt.Sprintf("%v: %s, and stream %s ends at %d, logged at %s (%s)", ErrShort, at, e.Stream, e.Last, stamp(e.LastLogged), how)
	}
	return fmt.Sprintf("%v and grew past it again: %s, and event %d of stream %s was logged at %s (%s)", ErrShort, at,
		e.Found.Sequence, e.Stream, stamp(e.Found.Logged), how)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000 MST") }

// Examine compares the log with a partition's position: a *[ShortError] when it is not the log that the position is of, nil when it is, as
// far as can be told. It can be told when the position's time is known, or the log ends before it.
//
//	the log ends before the position                          → it lost its end
//	the message at the position was logged at another time    → and grew past it
//	there is none, and the partition has an earlier event that was logged later → the same: the one at the position is trimmed with all before it
func (s *Stream) Examine(ctx context.Context, partition int, position wire.Place) error {
	info, err := s.Info(ctx)
	if err != nil || position.Sequence == 0 {
		return err
	}
	found, short, err := s.short(ctx, partition, position, info)
	if err != nil {
		return fmt.Errorf("examine partition %d: %w", partition, err)
	}
	if !short {
		return nil
	}
	if err := s.lead.confirm(ctx); err != nil { // one that was replaced lacks the end, and the log does not
		return fmt.Errorf("examine partition %d: %w", partition, err)
	}
	e := &ShortError{Stream: s.cfg.Name, Partition: partition, Position: position, Last: info.Last, LastLogged: info.LastLogged, Found: found}
	if mark, err := s.marks.Partition(ctx, partition); err == nil { // also one of the stream that this is a copy of
		e.Restored, _ = s.holds(ctx, mark.Trimmed) // only says how it came about
	}
	return e
}

func (s *Stream) short(ctx context.Context, partition int, position wire.Place, info Info) (found wire.Place, short bool, err error) {
	if info.Last < position.Sequence {
		return found, true, nil
	}
	if position.Logged.IsZero() {
		return found, false, nil
	}
	m, err := s.get.at(ctx, position.Sequence)
	if errors.Is(err, errNotFound) {
		m, err = s.get.since(ctx, s.cfg.Subjects.LogPartition(partition), position.Logged.Add(time.Microsecond)) // what is kept was cut
		if errors.Is(err, errNotFound) || err == nil && m.Sequence > position.Sequence {
			return found, false, nil
		}
	} else if err == nil && position.Same(m.Logged) {
		return found, false, nil
	}
	if err != nil {
		return found, false, err
	}
	return wire.Place{Sequence: m.Sequence, Logged: m.Logged}, true, nil
}

// Copied reports whether the stream was made from a copy of an earlier one (nats stream restore): it has events, or had them, from before it
// was made, and its sequences are the earlier one's. reached is the latest place that a database has of a log of that name, the zero place
// when it has none: it keeps a log that was made new by a server with another clock from being taken for a copy.
func (s *Stream) Copied(ctx context.Context, reached wire.Place) (bool, error) {
	info, err := s.Info(ctx)
	if err != nil || info.Last == 0 {
		return false, err
	}
	first := wire.Place{Sequence: info.First, Logged: info.LastLogged} // nothing is left in it: what it had last
	if info.Events > 0 {
		m, err := s.get.next(ctx, ">", info.First)
		if err != nil && !errors.Is(err, errNotFound) {
			return false, fmt.Errorf("look for the log's first event: %w", err)
		}
		if err == nil {
			first = wire.Place{Sequence: m.Sequence, Logged: m.Logged}
		}
	}
	return copied(first, reached, s.created), nil
}

func copied(first, reached wire.Place, created time.Time) bool {
	old := reached.Logged.IsZero() || first.Sequence > 1 || !first.Logged.Truncate(time.Microsecond).After(reached.Logged)
	return old && first.Logged.Before(created)
}

// holds reports whether the log has the event at that place.
func (s *Stream) holds(ctx context.Context, at wire.Place) (bool, error) {
	if at.Sequence == 0 {
		return false, nil
	}
	m, err := s.get.at(ctx, at.Sequence)
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	return err == nil && at.Same(m.Logged), err
}

// Missing is the last event of the partition that is known to have been in the log after position, and is no more, nor is anything before it:
// what a database at position lacks and cannot get. The zero place when nothing is missing.
//
// What is known is the mark: what was trimmed is gone, unless an older copy of the log was restored, which has it again from some event on. And
// what a database had reached was there; if it is gone, somebody else removed it.
func (s *Stream) Missing(ctx context.Context, partition int, position wire.Place, mark Mark) (wire.Place, error) {
	if !mark.Created.Equal(s.created) {
		return wire.Place{}, nil
	}
	var missing wire.Place
	for _, at := range []wire.Place{mark.Trimmed, mark.Reached} {
		if at.Sequence <= position.Sequence || at.Sequence <= missing.Sequence {
			continue
		}
		there, err := s.holds(ctx, at)
		if err != nil {
			return missing, fmt.Errorf("look for event %d of partition %d: %w", at.Sequence, partition, err)
		}
		if !there {
			missing = at
		}
	}
	if missing.Sequence > 0 || mark.Trimmed.Sequence <= position.Sequence {
		return missing, nil
	}
	// An older copy: what it holds of the partition begins somewhere. With the event at the position in it, nothing lies between.
	there, err := s.holds(ctx, position)
	if err != nil || there {
		return missing, err
	}
	switch first, err := s.get.next(ctx, s.cfg.Subjects.LogPartition(partition), position.Sequence+1); {
	case err != nil:
		return missing, fmt.Errorf("look for the first event of partition %d: %w", partition, err)
	case first.Sequence > position.Sequence+1:
		return wire.Place{Sequence: first.Sequence - 1, Logged: first.Logged}, nil
	default:
		return missing, nil
	}
}

// LastOf is the partition's newest event that is at or below position and was logged no later than the time until; the zero place when there is
// none.
func (s *Stream) LastOf(ctx context.Context, partition int, position uint64, until time.Time) (wire.Place, error) {
	info, err := s.Info(ctx)
	if err != nil {
		return wire.Place{}, err
	}
	filter, end := s.cfg.Subjects.LogPartition(partition), position+1
	switch later, err := s.get.since(ctx, filter, until.Add(time.Microsecond)); {
	case errors.Is(err, errNotFound):
	case err != nil:
		return wire.Place{}, fmt.Errorf("find the events after %s: %w", stamp(until), err)
	default:
		end = min(end, later.Sequence)
	}
	return s.before(ctx, filter, end, info.First)
}

// Same reports whether the log still has the event that was its last when it was seen: what was trimmed says nothing. The error wraps
// [ErrShort], or says that it is not known.
func (s *Stream) Same(ctx context.Context, seen wire.Place) (last wire.Place, err error) {
	info, err := s.Info(ctx)
	if err != nil {
		return seen, err
	}
	last = wire.Place{Sequence: info.Last, Logged: info.LastLogged}
	if seen.Sequence == 0 || last.Sequence == seen.Sequence && last.Same(seen.Logged) {
		return last, nil
	}
	e := &ShortError{Stream: s.cfg.Name, Partition: -1, Position: seen, Last: info.Last, LastLogged: info.LastLogged}
	if last.Sequence < seen.Sequence {
		if err := s.lead.confirm(ctx); err != nil { // one that was replaced lacks the end, and the log does not
			return seen, fmt.Errorf("look for the log's end: %w", err)
		}
		return seen, e
	}
	switch m, err := s.get.at(ctx, seen.Sequence); {
	case errors.Is(err, errNotFound):
	case err != nil:
		return seen, fmt.Errorf("look for event %d: %w", seen.Sequence, err)
	case !seen.Same(m.Logged):
		e.Found = wire.Place{Sequence: m.Sequence, Logged: m.Logged}
		return seen, e
	}
	return last, nil
}
