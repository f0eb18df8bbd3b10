package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

const (
	// pullExpires is how long a pull stays open when nothing comes; the reader then opens another.
	pullExpires = 30 * time.Second
	// inactiveAfter is when the server forgets a consumer that nobody pulls from. A reader whose delivery is blocked for longer (the
	// database is away) finds it gone and makes another.
	inactiveAfter = 2 * time.Minute
	// messageRoom is what a message has beside its payload: the server allows 64 KiB of headers.
	messageRoom = 64<<10 + 4<<10
)

// session is one consumer and what was received through it.
type session struct {
	p          *position
	sub        receiver
	inbox      string // pull n is answered under inbox.n
	next       string // where pulls are asked for
	pull       int    // the number of the open pull
	left       int    // messages that the open pull may still bring
	seen       uint64 // the consumer's sequence received last: it has no gaps
	parts      assembly
	reconnects uint64
}

// receiver is the subscription; an interface so that a test can lose messages, which a server never does when asked.
type receiver interface {
	NextMsgWithContext(ctx context.Context) (*nats.Msg, error)
}

// session reads until something is in doubt, which is its error; a new one continues at p.last.
func (p *position) session(ctx context.Context) (err error) {
	r := p.r
	nc := r.js.Conn()
	s := &session{p: p, inbox: nc.NewInbox(), reconnects: nc.Stats().Reconnects}
	sub, err := nc.SubscribeSync(s.inbox + ".*")
	if err != nil {
		return s.fatal(fmt.Errorf("subscribe: %w", err))
	}
	defer func() { err = errors.Join(err, ignoreClosed(sub.Unsubscribe())) }()
	// What is pending is bounded by the pull; a limit here would drop messages out of its middle.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return s.fatal(fmt.Errorf("subscribe: %w", err))
	}
	s.sub = sub
	name, err := s.create(ctx)
	if err != nil {
		return err
	}
	api := apiPrefix(r.js)
	s.next = api + "CONSUMER.MSG.NEXT." + r.cfg.Stream + "." + name
	// The server forgets the consumer anyway; this only spares it the wait, so nobody waits for the answer.
	defer func() {
		err = errors.Join(err, ignoreClosed(nc.Publish(api+"CONSUMER.DELETE."+r.cfg.Stream+"."+name, nil)))
	}()
	if err := s.sameLog(ctx); err != nil {
		return err
	}
	return s.run(ctx)
}

// create makes the consumer: of this process only, in memory, without acknowledgements.
func (s *session) create(ctx context.Context) (string, error) {
	r := s.p.r
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	c, err := r.js.CreateConsumer(ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		Description:       "A reader of persistd; not needed to resume",
		FilterSubject:     r.cfg.Subjects.LogPartition(s.p.partition),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       s.p.last + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: inactiveAfter,
		Replicas:          1,
		MemoryStorage:     true,
	})
	if err != nil {
		return "", s.fatal(fmt.Errorf("make consumer: %w", err))
	}
	return c.CachedInfo().Name, nil
}

// sameLog checks that the stream is the one that the position belongs to. It runs after the consumer was made: should the stream be
// made again after this, the consumer is gone with it.
func (s *session) sameLog(ctx context.Context) error {
	r := s.p.r
	ctx, cancel := context.WithTimeout(ctx, r.cfg.RequestTimeout)
	defer cancel()
	st, err := r.js.Stream(ctx, r.cfg.Stream)
	if err != nil {
		return s.fatal(fmt.Errorf("ask for stream: %w", err))
	}
	info := st.CachedInfo()
	if made := info.Created.UTC().Truncate(time.Microsecond); !made.Equal(r.cfg.Created) {
		return &endError{fmt.Errorf("read partition %d: %w: stream %s was made at %s, not at %s", s.p.partition, ErrOther, r.cfg.Stream, made, r.cfg.Created)}
	}
	if info.State.LastSeq < s.p.last {
		return &endError{fmt.Errorf("read partition %d: %w: stream %s ends at %d, the position is %d", s.p.partition, ErrShort, r.cfg.Stream, info.State.LastSeq, s.p.last)}
	}
	return s.sameEvent(ctx, st)
}

// sameEvent checks that the event delivered last, or the one that the position is at, is still the one at its sequence. A log that lost its end may have grown past the
// position before anybody looked: what it then holds up to there was never delivered, and would be passed over in silence. One
// that was trimmed tells nothing.
func (s *session) sameEvent(ctx context.Context, st jetstream.Stream) error {
	if s.p.logged.IsZero() {
		return nil
	}
	m, err := st.GetMsg(ctx, s.p.last)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return s.fatal(fmt.Errorf("ask for event %d: %w", s.p.last, err))
	case !(wire.Place{Logged: s.p.logged}).Same(m.Time):
		return &endError{fmt.Errorf("read partition %d: %w: event %d of stream %s was logged at %s, the one committed or delivered at %s",
			s.p.partition, ErrShort, s.p.last, s.p.r.cfg.Stream, m.Time.UTC(), s.p.logged.UTC())}
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
			if err := s.ask(); err != nil {
				return s.fatal(err)
			}
		}
		m, err := s.receive(ctx, silence)
		if err != nil {
			return s.fatal(err)
		}
		// What was under way when the connection broke is lost without a trace, if nothing comes after it.
		if s.p.r.js.Conn().Stats().Reconnects != s.reconnects {
			return errors.New("the connection was lost")
		}
		if m.Reply == "" {
			if err := s.status(m); err != nil {
				return err
			}
			continue
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read message's place: %w", err)
		}
		if meta.Sequence.Consumer != s.seen+1 {
			return fmt.Errorf("message %d of the consumer came after its %d", meta.Sequence.Consumer, s.seen)
		}
		s.seen, s.left = meta.Sequence.Consumer, s.left-1
		if err := s.take(ctx, m, meta); err != nil {
			return err
		}
	}
}

// take delivers the events that are known with one message more: itself, none yet, or several.
func (s *session) take(ctx context.Context, m *nats.Msg, meta *nats.MsgMetadata) error {
	if before := max(s.p.last, s.parts.sequence()); meta.Sequence.Stream <= before {
		return fmt.Errorf("message %d came after %d", meta.Sequence.Stream, before)
	}
	next := arrival{behind: meta.NumPending, ev: s.p.r.cfg.Subjects.Decode(wire.Message{
		Subject: m.Subject, Header: wire.Header(m.Header), Body: m.Data, Sequence: meta.Sequence.Stream, Logged: meta.Timestamp.UTC(),
	})}
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
func (s *session) receive(ctx context.Context, silence time.Duration) (*nats.Msg, error) {
	quiet, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	m, err := s.sub.NextMsgWithContext(quiet)
	switch {
	case err == nil:
		return m, ctx.Err() //nolint:wrapcheck // Read returns the cause.
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("no sign of the server for %s", silence)
	default:
		return nil, fmt.Errorf("receive: %w", err)
	}
}

type pullRequest struct {
	Batch     int           `json:"batch"`
	MaxBytes  int           `json:"max_bytes"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat"`
}

// ask opens the next pull.
func (s *session) ask() error {
	cfg, nc := s.p.r.cfg, s.p.r.js.Conn()
	s.pull, s.left = s.pull+1, cfg.ReadAheadMessages
	body, err := json.Marshal(pullRequest{
		Batch: s.left, MaxBytes: max(cfg.ReadAheadBytes, int(nc.MaxPayload())+messageRoom),
		Expires: max(pullExpires, 4*cfg.Heartbeat), Heartbeat: cfg.Heartbeat,
	})
	if err != nil {
		return fmt.Errorf("encode pull: %w", err)
	}
	if err := nc.PublishRequest(s.next, s.inbox+"."+strconv.Itoa(s.pull), body); err != nil {
		return fmt.Errorf("ask for messages: %w", err)
	}
	return nil
}

// status reads what the server says about a pull.
func (s *session) status(m *nats.Msg) error {
	current := m.Subject == s.inbox+"."+strconv.Itoa(s.pull)
	switch code, text := m.Header.Get("Status"), m.Header.Get("Description"); {
	case code == "100":
		// A heartbeat tells what was sent so far: what is missing now, with none behind it to show the gap, was lost on the way.
		if sent, err := strconv.ParseUint(m.Header.Get("Nats-Last-Consumer"), 10, 64); err == nil && sent > s.seen {
			return fmt.Errorf("message %d of the consumer is missing after its %d", sent, s.seen)
		}
		return nil
	case !current:
		return nil // the last word on an earlier pull
	case code == "404", code == "408",
		code == "409" && (text == "Message Size Exceeds MaxBytes" || text == "Batch Completed"):
		if text == "Message Size Exceeds MaxBytes" && s.left == s.p.r.cfg.ReadAheadMessages {
			return errors.New("the next message is larger than the read-ahead: raise it to what max_payload was when it was published")
		}
		s.left = 0
		return nil
	default:
		return fmt.Errorf("the server answered %s %s", code, text)
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrBadSubscription) {
		return nil
	}
	return err //nolint:wrapcheck // joined to the session's error.
}

// apiPrefix is what the subjects of the server's API begin with, up to and with the dot.
func apiPrefix(js jetstream.JetStream) string {
	switch o := js.Options(); {
	case o.APIPrefix != "":
		return strings.TrimSuffix(o.APIPrefix, ".") + "."
	case o.Domain != "":
		return "$JS." + o.Domain + ".API."
	default:
		return jetstream.DefaultAPIPrefix
	}
}
