package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// session is one consumer and what was received through it.
type session struct {
	intake
	p     *position
	parts assembly
}

// session reads until something is in doubt, which is its error; a new one continues at p.last. It waits for a connection, and ends with it.
func (p *position) session(ctx context.Context) (err error) {
	s := &session{p: p, intake: intake{batch: p.r.cfg.ReadAheadMessages}}
	attended, release, err := p.r.server.Attend(ctx)
	if err != nil {
		return s.fatal(fmt.Errorf("wait for a connection: %w", err))
	}
	defer release()
	defer func() { // rather than that a request was cut off
		if why := context.Cause(attended); err != nil && ctx.Err() == nil && why != nil {
			if _, ended := errors.AsType[*endError](err); !ended {
				err = s.fatal(why)
			}
		}
	}()
	if err := s.open(attended); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.c.Close()) }()
	if err := s.sameLog(attended); err != nil {
		return err
	}
	return s.run(ctx, attended)
}

func (s *session) open(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, s.p.r.cfg.RequestTimeout)
	defer cancel()
	var behind uint64
	s.c, behind, err = s.p.r.server.Open(ctx, s.p.partition, s.p.last+1)
	if err == nil {
		s.p.tell(behind)
	}
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

// run receives while there is a connection. What is received is delivered whether there is one or not: deliver has nothing to do with it.
func (s *session) run(ctx, attended context.Context) error {
	silence := s.p.r.cfg.silence()
	for {
		if err := s.ask(); err != nil {
			return s.fatal(err)
		}
		d, err := s.receive(attended, silence)
		if err != nil {
			return s.fatal(err)
		}
		message, err := s.check(&d)
		if err == nil && message {
			err = s.take(ctx, &d)
		}
		if err != nil {
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
	if s.parts.idle() && next.ev.Part.Transaction == "" {
		return s.p.give(ctx, &next)
	}
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
