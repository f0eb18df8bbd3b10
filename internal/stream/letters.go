package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

// Letter is a dead letter as it is kept.
type Letter struct {
	// Partition and Sequence are where the event is, or was, in the log that was made at StreamCreated.
	Partition     int
	Sequence      uint64
	StreamCreated time.Time
	// Subject is the event's in the log, Logged when it was logged, Part which part of a transaction it is.
	Subject string
	Logged  time.Time
	Part    wire.Part
	// Poison is why the event cannot be applied, as it was found last.
	Poison wire.Poison
	// Kept is when the letter was written.
	Kept time.Time
	// Size is how large the event's body is, and perhaps its headers with it, in bytes.
	Size int

	at    uint64   // in the stream of the letters
	parts []uint64 // of what did not fit, in order
	older []uint64 // the same letter with earlier reasons, which an Amend that ended early left
}

// Letters are the dead letters of a log, for who deals with them. Its methods change nothing but what they are told to.
type Letters struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	get     getter
	timeout time.Duration
	subject wire.Subjects
}

// OpenLetters finds the dead letters of the log that cfg names. It makes nothing.
func OpenLetters(ctx context.Context, js jetstream.JetStream, cfg Config) (*Letters, error) {
	cfg = cfg.WithDefaults()
	ctx, cancel := context.WithTimeout(ctx, cfg.RequestTimeout)
	defer cancel()
	name := cfg.Name + "_DLQ"
	s, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("find dead letters in stream %s: %w (it is made with the log, by persistd serve)", name, err)
	}
	return &Letters{js: js, stream: s, get: newGetter(js, name, cfg.RequestTimeout), timeout: cfg.RequestTimeout, subject: cfg.Subjects}, nil
}

// listed is how many letters are asked for at a time.
const listed = 500

// List returns the letters that match, in the order in which they were written; match may be nil. Bodies stay where they are.
func (l *Letters) List(ctx context.Context, match func(*Letter) bool) (_ []*Letter, err error) {
	c, err := l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Description: "Lists dead letters; not needed", DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckNonePolicy,
		HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	defer func() {
		err = errors.Join(err, wrapped("delete consumer that listed", l.stream.DeleteConsumer(context.WithoutCancel(ctx), c.CachedInfo().Name)))
	}()
	found := map[string]*Letter{} // by subject and log: one that was written again stands in the other's place
	parts, older := map[string]uint64{}, map[string][]uint64{}
	for left := c.CachedInfo().NumPending; left > 0; {
		page, err := c.Fetch(min(listed, int(left)), jetstream.FetchMaxWait(l.timeout)) //nolint:gosec // at most listed.
		if err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		n := 0
		for m := range page.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return nil, fmt.Errorf("list dead letters: %w", err)
			}
			n++
			left = meta.NumPending
			key := m.Headers().Get(HeaderStreamCreated) + " " + m.Subject()
			if strings.ContainsRune(m.Subject()[strings.LastIndexByte(m.Subject(), '.'):], '-') {
				parts[key] = meta.Sequence.Stream
				continue
			}
			x, err := letterOf(m, meta)
			if err != nil {
				continue // somebody else's message under our subjects; nats stream view shows it
			}
			for i := range partsOf(m.Headers()) {
				x.parts = append(x.parts, parts[key+"-"+strconv.Itoa(i+1)])
			}
			x.older = older[key]
			older[key] = append(slices.Clip(older[key]), x.at)
			delete(found, key)
			if match == nil || match(x) {
				found[key] = x
			}
		}
		if err := page.Error(); err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		if n == 0 { // somebody removed the rest, or the server does not get to it
			info, err := c.Info(ctx)
			switch {
			case err != nil:
				return nil, fmt.Errorf("list dead letters: %w", err)
			case info.NumPending > 0:
				return nil, fmt.Errorf("list dead letters: the server sent nothing for %s, with %d to come", l.timeout, info.NumPending)
			}
			left = 0
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *Letter) int { return int(int64(a.at) - int64(b.at)) }), nil //nolint:gosec // sequences are far from the end.
}

func partsOf(h nats.Header) int {
	n, _ := strconv.Atoi(h.Get(HeaderParts)) // absent is none
	return max(0, min(n, 1<<16))
}

func letterOf(m jetstream.Msg, meta *jetstream.MsgMetadata) (*Letter, error) {
	h := m.Headers()
	x := &Letter{Subject: unescape(h.Get(HeaderSubject)), Kept: meta.Timestamp.UTC(), at: meta.Sequence.Stream}
	partition, err1 := strconv.Atoi(h.Get(HeaderPartition))
	seq, err2 := strconv.ParseUint(h.Get(HeaderSequence), 10, 64)
	created, err3 := time.Parse(time.RFC3339Nano, h.Get(HeaderStreamCreated))
	logged, err4 := time.Parse(time.RFC3339Nano, h.Get(HeaderLoggedAt))
	number, err5 := strconv.ParseUint(h.Get(HeaderErrorNumber), 10, 16)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, fmt.Errorf("read dead letter %s: %w", m.Subject(), err)
	}
	x.Partition, x.Sequence, x.StreamCreated, x.Logged = partition, seq, created, logged
	x.Poison = wire.Poison{Code: h.Get(HeaderCode), Reason: unescape(h.Get(HeaderReason)), ErrorNumber: uint16(number)}
	x.Size, _ = strconv.Atoi(h.Get("Nats-Msg-Size")) // of the letter alone, when there are parts
	original := wire.Header{wire.HeaderPart: h.Values(HeaderOriginal + wire.HeaderPart)}
	x.Part, _ = wire.PartOf(original) // one that is none is the event's fault, which the letter tells
	return x, nil
}

// Open returns the event of a letter as it was in the log: its bytes, its headers, its place.
func (l *Letters) Open(ctx context.Context, x *Letter) (wire.Message, error) {
	what := fmt.Sprintf("open dead letter of event %d", x.Sequence)
	head, err := l.get.do(ctx, getRequest{Seq: x.at})
	if errors.Is(err, errNotFound) {
		return wire.Message{}, fmt.Errorf("%s: %w: somebody has dealt with it meanwhile", what, err)
	} else if err != nil {
		return wire.Message{}, fmt.Errorf("%s: %w", what, err)
	}
	m := wire.Message{Subject: x.Subject, Sequence: x.Sequence, Logged: x.Logged, Body: head.Body}
	for _, seq := range x.parts {
		part, err := l.get.do(ctx, getRequest{Seq: seq})
		if err != nil {
			return wire.Message{}, fmt.Errorf("%s: read what did not fit it: %w", what, err)
		}
		m.Body = append(m.Body, part.Body...)
	}
	if head.Header.Get(HeaderHeaders) == "json" {
		text, body, ok := strings.Cut(string(m.Body), "\n")
		if !ok || json.Unmarshal([]byte(text), &m.Header) != nil {
			return wire.Message{}, fmt.Errorf("%s: its headers are not where they should be", what)
		}
		m.Body = []byte(body)
		return m, nil
	}
	m.Header = wire.Header{}
	for key, values := range head.Header {
		lower := strings.ToLower(key)
		switch name, was := strings.CutPrefix(lower, strings.ToLower(HeaderOriginal)); {
		case was:
			m.Header[key[len(key)-len(name):]] = values
		case strings.HasPrefix(lower, "nats-"), strings.HasPrefix(lower, "persistd-"): // the letter's own
		default:
			m.Header[key] = values
		}
	}
	return m, nil
}

// Drop removes a letter. It is idempotent. When it ends early the letter is there, or it is not and further parts of it are, which nobody finds.
func (l *Letters) Drop(ctx context.Context, x *Letter) error {
	for _, seq := range slices.Concat(x.older, []uint64{x.at}, x.parts) {
		if err := l.delete(ctx, seq); err != nil {
			return fmt.Errorf("remove dead letter of event %d: %w", x.Sequence, err)
		}
	}
	return nil
}

func (l *Letters) delete(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	err := l.stream.DeleteMsg(ctx, seq)
	if _, getErr := l.get.do(ctx, getRequest{Seq: seq}); err != nil && errors.Is(getErr, errNotFound) {
		return nil // it is gone
	}
	return err //nolint:wrapcheck // the caller does.
}

// Amend writes a letter again with another reason, and returns it: the one before is removed once the new one is stored. When it ends early
// both are there, and the new one counts.
func (l *Letters) Amend(ctx context.Context, x *Letter, why wire.Poison) (*Letter, error) {
	what := fmt.Sprintf("write reason into dead letter of event %d", x.Sequence)
	old, err := l.get.do(ctx, getRequest{Seq: x.at})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	m := nats.NewMsg(old.Subject)
	m.Data = old.Body
	for key, values := range old.Header {
		if !strings.HasPrefix(strings.ToLower(key), "nats-") {
			m.Header[key] = values
		}
	}
	m.Header.Set(HeaderCode, why.Code)
	m.Header.Set(HeaderErrorNumber, strconv.Itoa(int(why.ErrorNumber)))
	m.Header.Set(HeaderReason, "")
	room := l.js.Conn().MaxPayload() - int64(len(m.Data)+headerSize(wire.Header(m.Header))) - partRoom/2
	m.Header.Set(HeaderReason, escape(why.Reason, int(max(0, min(maxReason, room)))))
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	ack, err := l.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(x.at), jetstream.WithRetryAttempts(0))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	amended := *x
	amended.Poison, amended.at, amended.Kept = why, ack.Sequence, time.Now().UTC()
	return &amended, l.delete(ctx, x.at)
}

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
