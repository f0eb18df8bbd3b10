package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/persistd/persistd/internal/wire"
)

// Tail shows visit the key's events with a sequence above after, in log order, poison ones included; it holds no more than a page of
// them. It implements [readpath.Tail].
//
// I6: it sees every event that was acknowledged before the call, because the leader says which is the key's last one:
//
//	L ← the key's last event, from the leader                 acknowledged before the call: at or below L
//	none, or L ≤ after: empty;  L = after+1: it is L alone    one small round trip
//	pages of the key's events from after+1, from any replica  complete once they hold L: a replica has the log without a gap up to
//	                                                          where it is, so one that has L has all before it
//	not L, or no answer: the rest one by one from the leader
//
// An event that is trimmed meanwhile is committed, so the row that is read afterwards has it.
func (s *Stream) Tail(ctx context.Context, partition int, namespace, kind, id string, after uint64, visit func(*wire.Event)) error {
	subject := s.cfg.Subjects.Log(partition, namespace, kind, id)
	last, err := s.get.last(ctx, subject)
	switch {
	case errors.Is(err, errNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("read tail after %d: %w", after, err)
	case last.Sequence <= after:
		return nil
	}
	t := tail{s: s, subject: subject, last: last, from: after + 1, visit: visit}
	if err := t.read(ctx); err != nil {
		return fmt.Errorf("read tail after %d: %w", after, err)
	}
	return nil
}

// Last implements [readpath.Tail]. It costs as much as the last event is long: the server has no shorter answer.
func (s *Stream) Last(ctx context.Context, partition int, namespace, kind, id string) (uint64, error) {
	last, err := s.get.last(ctx, s.cfg.Subjects.Log(partition, namespace, kind, id))
	switch {
	case errors.Is(err, errNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read last sequence: %w", err)
	}
	return last.Sequence, nil
}

// LastAttempt implements [readpath.Tail]: the last message of the run's attempt subject. What is no beginning has the attempt 0.
func (s *Stream) LastAttempt(ctx context.Context, partition int, namespace, runID string) (attempt uint32, sequence uint64, err error) {
	last, err := s.get.last(ctx, s.cfg.Subjects.Log(partition, namespace, wire.KindAttempt, runID))
	switch {
	case errors.Is(err, errNotFound):
		return 0, 0, nil
	case err != nil:
		return 0, 0, fmt.Errorf("read last attempt: %w", err)
	}
	ev := s.cfg.Subjects.Decode(last)
	if ev.Poison == nil {
		attempt = ev.Attempt
	}
	return attempt, last.Sequence, nil
}

// tail is one call of Tail at work.
type tail struct {
	s       *Stream
	subject string
	last    wire.Message // L, which is in hand and need not be found again
	from    uint64       // all of the key before it is read; L at the latest
	visit   func(*wire.Event)
}

func (t *tail) read(ctx context.Context) error {
	for t.from < t.last.Sequence {
		page, err := t.s.page(ctx, t.subject, t.from)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// What a replica gave is good as far as it goes, also when it then fell silent.
		t.take(page.messages)
		if err != nil || page.end || len(page.messages) == 0 {
			break
		}
	}
	for t.from < t.last.Sequence {
		m, err := t.s.get.next(ctx, t.subject, t.from)
		if errors.Is(err, errNotFound) {
			break // trimmed meanwhile, L included
		} else if err != nil {
			return err
		}
		t.take([]wire.Message{m})
	}
	t.show(t.last)
	return nil
}

// take keeps the messages before L.
func (t *tail) take(messages []wire.Message) {
	for _, m := range messages {
		if m.Sequence >= t.last.Sequence {
			t.from = t.last.Sequence
			return
		}
		t.show(m)
		t.from = m.Sequence + 1
	}
}

func (t *tail) show(m wire.Message) {
	ev := t.s.cfg.Subjects.Decode(m)
	t.visit(&ev)
}
