package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/relay"
	"github.com/persistd/persistd/internal/wire"
)

var _ relay.Sink = (*Events)(nil)

// EventsConfig says what stream the relayed events are kept in, should there be none yet.
type EventsConfig struct {
	// MaxBytes is how large it may grow; when it is full the relay waits. Zero is half of what the account may still store, at most 1 GiB.
	MaxBytes int64
	// MaxAge is how long events stay in it for those who read them. Zero is until somebody removes them.
	MaxAge time.Duration
}

const (
	minEventsBytes     = 16 << 20
	defaultEventsBytes = 1 << 30
)

// Events is where committed outbox events are published: a stream beside the log, <name>_EVENTS, or one of the user's own that listens on
// <prefix>.events.*. Its methods may be called concurrently.
type Events struct {
	js       jetstream.JetStream
	subjects wire.Subjects
	timeout  time.Duration
}

// EnsureEvents returns the stream of the relayed events, made if nobody listens on their subjects. A stream that does is used as it is:
// what becomes of events that were published is for its owner to say. It is idempotent, and any number of daemons may call it at once.
func EnsureEvents(ctx context.Context, js jetstream.JetStream, cfg Config, events EventsConfig, log *zap.Logger) (*Events, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := boundRequests(ctx, cfg)
	defer cancel()
	out := &Events{js: js, subjects: cfg.Subjects, timeout: cfg.RequestTimeout}
	name, err := js.StreamNameBySubject(ctx, cfg.Subjects.Events())
	switch {
	case err == nil:
		log.Debug("relayed events go to the stream that listens on their subjects", zap.String("name", name))
		return out, nil
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fmt.Errorf("look for a stream of %s: %w", cfg.Subjects.Events(), err)
	}
	e := &ensurer{js: js, cfg: cfg, log: log}
	want := e.kept(cfg.Name+"_EVENTS", "Committed outbox events of persistd's runs, as the relay published them", []string{cfg.Subjects.Events()})
	want.Duplicates, want.MaxAge = cfg.DuplicateWindow, events.MaxAge
	if want.MaxAge > 0 && want.MaxAge < want.Duplicates {
		want.Duplicates = want.MaxAge // the server insists
	}
	if _, err := e.findOrCreate(ctx, want, sizing{wanted: events.MaxBytes, most: defaultEventsBytes, least: minEventsBytes}); err != nil {
		return nil, err
	}
	return out, nil
}

// Publish implements [relay.Sink]. The message's id is the event's, so that the stream recognises one that is published again; the body is
// the [wire.OutboxRecord], zstd-compressed when it would not fit a message otherwise.
func (e *Events) Publish(ctx context.Context, ev wire.OutboxRecord) error {
	body, err := wire.Marshal(ev)
	if err != nil {
		return err //nolint:wrapcheck // it says what.
	}
	m := &nats.Msg{Subject: e.subjects.Event(ev.RunID), Data: body, Header: nats.Header{wire.HeaderMsgID: {wire.Token(ev.EventID)}}}
	if limit := e.js.Conn().MaxPayload(); limit > 0 && int64(len(body))+messageHeaders > limit {
		m.Data = wire.Compress(body)
		m.Header.Set(wire.HeaderEncoding, wire.EncodingZstd)
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	if _, err := e.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0)); err != nil {
		return hinted("publish to "+m.Subject, err, eventsHint(err))
	}
	return nil
}

// codeStoreFailed is the server's code for a message that it could not store: also for a full stream.
const codeStoreFailed jetstream.ErrorCode = 10077

// messageHeaders is more than the headers of a relayed event take.
const messageHeaders = 1 << 10

func eventsHint(err error) string {
	api, _ := errors.AsType[*jetstream.APIError](err)
	switch {
	case api != nil && api.ErrorCode == codeStoreFailed && strings.HasPrefix(api.Description, "maximum "):
		return "the stream of the events is full: have somebody read and remove them, or raise its max_bytes"
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return "no stream listens there any more: start persistd again, which makes one"
	case noRoom(err):
		return "the server has no room for more: raise max_file_store of the server or the account's max_storage"
	default:
		return ""
	}
}
