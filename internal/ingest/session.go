package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// session is one consumer and what was received through it.
type session struct {
	p     *position
	c     Consumer
	pull  int    // the number of the open pull
	left  int    // messages that the open pull may still bring
	seen  uint64 // the place of the message received last: the consumer leaves none out
	parts assembly
}

// session reads until something is in doubt, which is its error; a new one continues at p.last.
func (p *position) session(ctx context.Context) (err error) {
	s := &session{p: p}
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.c.Close()) }()
	if err := s.sameLog(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

func (s *session) open(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.p.r.cfg.RequestTimeout)
	defer cancel()
	s.c, err = s.p.r.server.Open(ctx, s.p.partition, s.p.last+1)
	return s.fatal(err)
}

// sameLog checks that the stream is the one that the position belongs to. It runs after the consumer was made: should the stream be
// made again after this, the consumer is gone with it.
func (s *session) sameLog(ctx context.Context) error {
	r := s.p.r
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	made, last, err := r.server.Stream(ctx)
	if err != nil {
		return s.fatal(fmt.Errorf("ask for stream: %w", err))
	}
	if !made.Equal(r.cfg.Created) {
		return &endError{fmt.Errorf("read partition %d: %w: stream %s was made at %s, not at %s", s.p.partition, ErrOther, r.cfg.Stream, made, r.cfg.Created)}
	}
	if last < s.p.last {
		return &endError{fmt.Errorf("read partition %d: %w: stream %s ends at %d, the position is %d", s.p.partition, ErrShort, r.cfg.Stream, last, s.p.last)}
	}
	return s.sameEvent(ctx)
}

// sameEvent checks that the event delivered last, or the one that the position is at, is still the one at its sequence. A log that lost its end may have grown past the
// position before anybody looked: what it then holds up to there was never delivered, and would be passed over in silence. One
// that was trimmed tells nothing.
func (s *session) sameEvent(ctx context.Context) error {
	if s.p.logged.IsZero() {
		return nil
	}
	at, found, err := s.p.r.server.Logged(ctx, s.p.last)
	switch {
	case err != nil:
		return s.fatal(fmt.Errorf("ask for event %d: %w", s.p.last, err))
	case found && !(wire.Place{Logged: s.p.logged}).Same(at):
		return &endError{fmt.Errorf("read partition %d: %w: event %d of stream %s was logged at %s, the one committed or delivered at %s",
			s.p.partition, ErrShort, s.p.last, s.p.r.cfg.Stream, at.UTC(), s.p.logged.UTC())}
	}
	return nil
}

// fatal makes the end of the whole connection the end of the Read: no new session has a server to ask.
func (s *session) fatal(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) {
		return &endError{fmt.Errorf("read partition %d: %w", s.p.partition, err)}
	}
	return err
}

func (s *session) run(ctx context.Context) error {
	silence := s.p.r.cfg.Heartbeat * 5 / 2
	for {
		if s.left <= 0 {
			s.pull, s.left = s.pull+1, s.p.r.cfg.ReadAheadMessages
			if err := s.c.Ask(s.pull, s.left); err != nil {
				return s.fatal(err)
			}
		}
		d, err := s.receive(ctx, silence)
		if err != nil {
			return s.fatal(err)
		}
		if d.Place == 0 {
			if err := s.status(d.Status); err != nil {
				return err
			}
			continue
		}
		if d.Place != s.seen+1 {
			return fmt.Errorf("message %d of the consumer came after its %d", d.Place, s.seen)
		}
		s.seen, s.left = d.Place, s.left-1
		if err := s.take(ctx, &d); err != nil {
			return err
		}
	}
}

// take delivers the events that are known with one message more: itself, none yet, or several.
func (s *session) take(ctx context.Context, d *Delivery) error {
	if before := max(s.p.last, s.parts.sequence()); d.Message.Sequence <= before {
		return fmt.Errorf("message %d came after %d", d.Message.Sequence, before)
	}
	next := arrival{behind: d.Behind, ev: s.p.r.cfg.Subjects.Decode(d.Message)}
	known := s.parts.add(next)
	for i := range known {
		if err := s.p.give(ctx, &known[i]); err != nil {
			return err
		}
	}
	if n := len(s.parts.held); n > 0 {
		s.p.tell(next.behind + uint64(n))
	}
	return nil
}

// receive waits for a message, for a silence longer than any between heartbeats, or for the end of ctx.
func (s *session) receive(ctx context.Context, silence time.Duration) (Delivery, error) {
	quiet, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	d, err := s.c.Receive(quiet)
	switch {
	case err == nil:
		return d, ctx.Err() //nolint:wrapcheck // Read returns the cause.
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return d, fmt.Errorf("no sign of the server for %s", silence)
	default:
		return d, fmt.Errorf("receive: %w", err)
	}
}

// status reads what the server says about a pull.
func (s *session) status(st Status) error {
	switch {
	case st.Code == "100":
		// A heartbeat tells what was sent so far: what is missing now, with none behind it to show the gap, was lost on the way.
		if st.Sent > s.seen {
			return fmt.Errorf("message %d of the consumer is missing after its %d", st.Sent, s.seen)
		}
		return nil
	case st.Pull != s.pull:
		return nil // the last word on an earlier pull
	case st.Code == "404", st.Code == "408",
		st.Code == "409" && (st.Text == "Message Size Exceeds MaxBytes" || st.Text == "Batch Completed"):
		if st.Text == "Message Size Exceeds MaxBytes" && s.left == s.p.r.cfg.ReadAheadMessages {
			return errors.New("the next message is larger than the read-ahead: raise it to what max_payload was when it was published")
		}
		s.left = 0
		return nil
	default:
		return fmt.Errorf("the server answered %s %s", st.Code, st.Text)
	}
}
