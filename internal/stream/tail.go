package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// Messages are a log's messages, asked for one by one or in pages. Its methods block until answered or ctx ends.
type Messages interface {
	// Last is the newest message of subject, of which only the sequence need be set if that is not above after; and Next the oldest at or
	// after the sequence from. The stream's leader answers, so they see all that is acknowledged.
	Last(ctx context.Context, subject string, after uint64) (m wire.Message, found bool, err error)
	Next(ctx context.Context, subject string, from uint64) (m wire.Message, found bool, err error)
	// Page is messages of subject from the sequence from on, without a gap. Any replica answers, also one that is behind; end says that
	// it has no more. What came before an error is good.
	Page(ctx context.Context, subject string, from uint64) (messages []wire.Message, end bool, err error)
	// First is the oldest message of subject at or after the sequence from, and how many there are from it on: held is of one moment during
	// the call at which m was the oldest, or of one before it. found is also false when none of the servers can tell, as where there are
	// several and from is not the beginning. It costs little, however many there are.
	// It is counted by one that has the message last.
	First(ctx context.Context, subject string, from, last uint64) (m wire.Message, held uint64, found bool, err error)
}

// Tail reads the end of the log of Messages. It implements [readpath.Tail].
type Tail struct {
	Messages Messages
	Subjects wire.Subjects
	// Near is how many sequences the key's last event is behind the position at most when where its tail begins is looked for from the
	// position on, which leaves alone what the log has of long ago. 0 is 1000, which is a few MB.
	Near uint64
}

// Tail shows visit the key's events with a sequence above after, in log order, poison ones included; it holds no more than a page of
// them. Those that the last one makes irrelevant may be left out.
//
// I6: it sees every event that was acknowledged before the call, because the leader says which is the key's last one:
//
//	L ← the key's last event, from the leader                 acknowledged before the call: at or below L
//	none, or L ≤ after: empty;  L = after+1: it is L alone    one small round trip
//	L says that those before it do not matter: L alone        one or two more, see [readpath.Overwrites] and [readpath.Chained]
//	pages of the key's events from after+1, from any replica  complete once they hold L: a replica has the log without a gap up to
//	                                                          where it is, so one that has L has all before it
//	not L, or no answer: the rest one by one from the leader
//
// An event that is trimmed meanwhile is committed, so the row that is read afterwards has it.
func (t Tail) Tail(ctx context.Context, partition int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (uint64, error) {
	subject := t.Subjects.Log(partition, namespace, kind, id)
	last, found, err := t.Messages.Last(ctx, subject, after)
	if err != nil {
		return 0, fmt.Errorf("read tail after %d: %w", after, err)
	}
	if !found || last.Sequence <= after {
		return last.Sequence, nil
	}
	r := tailReader{t: t, subject: subject, last: t.Subjects.Decode(last), from: after + 1, visit: visit}
	if t.suffices(ctx, subject, kind, id, &r.last, after) {
		visit(&r.last)
		return last.Sequence, nil
	}
	if err := r.read(ctx); err != nil {
		return 0, fmt.Errorf("read tail after %d: %w", after, err)
	}
	return last.Sequence, nil
}

// near is Near's default.
const near = 1000

// suffices reports whether last is all that is needed of the key's events after the sequence after. An error is an answer too: no.
//
// Behind a backlog the first event of all that the log holds of the run is looked at. To begin behind the position would do as well, and does
// where the run has changed its writer before; but it costs the server a look at each block of the log from there on.
func (t Tail) suffices(ctx context.Context, subject, kind, id string, last *wire.Event, after uint64) bool {
	switch {
	case last.Message.Sequence == after+1:
		return true
	case kind == wire.KindCheckpoint:
		return readpath.Overwrites(last, id)
	case kind != wire.KindRun || !readpath.MayBeChained(last):
		return false
	}
	if last.Message.Sequence-after > cmp.Or(t.Near, near) {
		if yes, err := t.chained(ctx, subject, last, 1); yes || err != nil {
			return yes
		}
	}
	yes, err := t.chained(ctx, subject, last, after+1)
	return yes && err == nil
}

// chained reports whether last alone is needed of what the log holds of subject from the sequence from on.
func (t Tail) chained(ctx context.Context, subject string, last *wire.Event, from uint64) (bool, error) {
	m, held, found, err := t.Messages.First(ctx, subject, from, last.Message.Sequence)
	if err != nil || !found {
		return false, err //nolint:wrapcheck // nobody is told: the tail is read.
	}
	first := t.Subjects.Decode(m)
	return readpath.Chained(&first, last, held), nil
}

// Last implements [readpath.Tail]. It costs as much as the last event is long: the server has no shorter answer.
func (t Tail) Last(ctx context.Context, partition int, namespace, kind, id string) (uint64, error) {
	last, _, err := t.Messages.Last(ctx, t.Subjects.Log(partition, namespace, kind, id), math.MaxUint64)
	if err != nil {
		return 0, fmt.Errorf("read last sequence: %w", err)
	}
	return last.Sequence, nil
}

// LastAttempt implements [readpath.Tail]: the last message of the run's attempt subject. What is no beginning has the attempt 0.
func (t Tail) LastAttempt(ctx context.Context, partition int, namespace, runID string) (attempt uint32, sequence uint64, err error) {
	last, found, err := t.Messages.Last(ctx, t.Subjects.Log(partition, namespace, wire.KindAttempt, runID), 0)
	if err != nil {
		return 0, 0, fmt.Errorf("read last attempt: %w", err)
	}
	if !found {
		return 0, 0, nil
	}
	ev := t.Subjects.Decode(last)
	if ev.Poison == nil {
		attempt = ev.Attempt
	}
	return attempt, last.Sequence, nil
}

// tailReader is one call of Tail at work.
type tailReader struct {
	t       Tail
	subject string
	last    wire.Event // L, which is in hand and need not be found again
	from    uint64     // all of the key before it is read; L at the latest
	visit   func(*wire.Event)
}

func (r *tailReader) read(ctx context.Context) error {
	for r.from < r.last.Message.Sequence {
		messages, end, err := r.t.Messages.Page(ctx, r.subject, r.from)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		// What a replica gave is good as far as it goes, also when it then fell silent.
		r.take(messages)
		if err != nil || end || len(messages) == 0 {
			break
		}
	}
	for r.from < r.last.Message.Sequence {
		m, found, err := r.t.Messages.Next(ctx, r.subject, r.from)
		if err != nil {
			return err //nolint:wrapcheck // Tail says what was read.
		}
		if !found {
			break // trimmed meanwhile, L included
		}
		r.take([]wire.Message{m})
	}
	r.visit(&r.last)
	return nil
}

// take keeps the messages before L.
func (r *tailReader) take(messages []wire.Message) {
	for _, m := range messages {
		if last := r.last.Message.Sequence; m.Sequence >= last {
			r.from = last
			return
		}
		r.show(m)
		r.from = m.Sequence + 1
	}
}

func (r *tailReader) show(m wire.Message) {
	ev := r.t.Subjects.Decode(m)
	r.visit(&ev)
}

// Tail implements [readpath.Tail].
func (s *Stream) Tail(ctx context.Context, partition int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (uint64, error) {
	return s.tail().Tail(ctx, partition, namespace, kind, id, after, visit)
}

// Last implements [readpath.Tail].
func (s *Stream) Last(ctx context.Context, partition int, namespace, kind, id string) (uint64, error) {
	return s.tail().Last(ctx, partition, namespace, kind, id)
}

// LastAttempt implements [readpath.Tail].
func (s *Stream) LastAttempt(ctx context.Context, partition int, namespace, runID string) (attempt uint32, sequence uint64, err error) {
	return s.tail().LastAttempt(ctx, partition, namespace, runID)
}

func (s *Stream) tail() Tail { return Tail{Messages: served{s}, Subjects: s.cfg.Subjects} }

// served are the messages as the stream's servers give them out.
type served struct{ s *Stream }

// Last asks by direct get where the server is in no cluster, for then who has the log leads it: the server answers that at once, and does not
// wrap the message in JSON. But a mirror answers as well, and that it has none says nothing: what was not found so is looked for as always. So
// is what may have been answered through another connection, of whose server it is not known whether it is alone.
func (v served) Last(ctx context.Context, subject string, after uint64) (wire.Message, bool, error) {
	if err := v.s.lead.confirm(ctx); err != nil {
		return wire.Message{}, false, err
	}
	if w := v.s.lead.lone(); w != nil {
		if m, exists, err := v.s.lastOfOne(ctx, subject, after); err == nil && exists && v.s.lead.stands(w) {
			return m, true, nil
		}
	}
	return found(v.s.get.lastAfter(ctx, subject, after))
}

func (v served) Next(ctx context.Context, subject string, from uint64) (wire.Message, bool, error) {
	return found(v.s.get.next(ctx, subject, from))
}

func (v served) Page(ctx context.Context, subject string, from uint64) ([]wire.Message, bool, error) {
	p, err := v.s.page(ctx, subject, from)
	return p.messages, p.end, err
}

func (v served) First(ctx context.Context, subject string, from, last uint64) (wire.Message, uint64, bool, error) {
	return v.s.first(ctx, subject, from, last)
}

func found(m wire.Message, err error) (wire.Message, bool, error) {
	if errors.Is(err, errNotFound) {
		return m, false, nil
	}
	return m, err == nil, err
}
