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

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// ErrOther is returned when the stream is gone, or is not the one that was found at the start: sequences of the one mean nothing in
// the other. The process has to start again.
var ErrOther = errors.New("log is not the stream that it was")

var _ readpath.Tail = (*Stream)(nil)

// Stream is the log. Its methods may be called concurrently.
type Stream struct {
	js         jetstream.JetStream
	cfg        Config
	partitions int
	created    time.Time
	dead       *DeadLetters
	marks      *Marks
	log        *zap.Logger
	get        getter
	lead       *lead
	// page, lastOfOne and firstOfOne read of a subject by direct get; fields so that a test can be a replica that is behind.
	page       func(ctx context.Context, subject string, from uint64) (directPage, error)
	lastOfOne  func(ctx context.Context, subject string, after uint64) (m wire.Message, exists bool, err error)
	firstOfOne func(ctx context.Context, subject string, from uint64) (m wire.Message, held uint64, exists bool, err error)
	counter    counter
}

func newStream(js jetstream.JetStream, cfg Config, partitions int, created time.Time, dead *DeadLetters, marks *Marks, log *zap.Logger) *Stream {
	s := &Stream{js: js, cfg: cfg, partitions: partitions, created: created, dead: dead, marks: marks, log: log}
	s.get = newGetter(js, cfg.Name, cfg.RequestTimeout)
	d := director{nc: js.Conn(), stream: cfg.Name, subject: apiPrefix(js) + "DIRECT.GET." + cfg.Name, timeout: cfg.RequestTimeout}
	s.page, s.lastOfOne, s.firstOfOne = d.page, d.last, d.first
	s.counter = counter{nc: js.Conn(), subject: apiPrefix(js) + "STREAM.INFO." + cfg.Name}
	s.lead = newLead(s.followers, func() uint64 { return js.Conn().Stats().Reconnects })
	return s
}

// Name is the stream's name.
func (s *Stream) Name() string { return s.cfg.Name }

// Subjects derives the log's subjects.
func (s *Stream) Subjects() wire.Subjects { return s.cfg.Subjects }

// Partitions is into how many partitions the log is divided: what it was made with, whatever is configured.
func (s *Stream) Partitions() int { return s.partitions }

// Created is when the stream was made, in whole microseconds, which the databases keep: it tells this log from another one of the
// same name, whose sequences begin at 1 again.
func (s *Stream) Created() time.Time { return s.created }

// DeadLetters are the log's dead letters.
func (s *Stream) DeadLetters() *DeadLetters { return s.dead }

// Marks are what the log knows of itself beyond its events.
func (s *Stream) Marks() *Marks { return s.marks }

// Info is the stream as it is now.
type Info struct {
	Created    time.Time
	Partitions int
	// Events and Bytes are what the log holds; MaxBytes is what it may.
	Events, Bytes, MaxBytes uint64
	// First and Last are the sequences of its oldest and its newest event; Last is 0 only when there never was one.
	First, Last uint64
	// LastLogged is when the newest one was logged; the zero time when there never was one, or the server has forgotten.
	LastLogged time.Time
	Replicas   int
}

// Info asks the stream's leader for its state. It returns an error that wraps [ErrOther] when the stream is another one, or none.
func (s *Stream) Info(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	st, err := s.js.Stream(ctx, s.cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return Info{}, fmt.Errorf("ask for stream %s: %w: %w", s.cfg.Name, ErrOther, err)
	} else if err != nil {
		return Info{}, fmt.Errorf("ask for stream %s: %w", s.cfg.Name, err)
	}
	si := st.CachedInfo()
	if at := created(si); !at.Equal(s.created) {
		return Info{}, fmt.Errorf("ask for stream %s: %w: made at %s, not at %s", s.cfg.Name, ErrOther, at, s.created)
	}
	return Info{
		Created: s.created, Partitions: s.partitions, Replicas: si.Config.Replicas,
		Events: si.State.Msgs, Bytes: si.State.Bytes, MaxBytes: uint64(max(0, si.Config.MaxBytes)),
		First: si.State.FirstSeq, Last: si.State.LastSeq, LastLogged: si.State.LastTime.UTC(),
	}, nil
}

// followers asks the leader what it hears of the others.
func (s *Stream) followers(ctx context.Context) (*jetstream.ClusterInfo, int, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	st, err := s.js.Stream(ctx, s.cfg.Name)
	if err != nil {
		return nil, 0, err //nolint:wrapcheck // lead says what was asked.
	}
	info := st.CachedInfo()
	return info.Cluster, info.Config.Replicas, nil
}

func created(info *jetstream.StreamInfo) time.Time {
	return info.Created.UTC().Truncate(time.Microsecond)
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

func header(h nats.Header) wire.Header {
	if len(h) == 0 {
		return nil
	}
	return wire.Header(h)
}
