package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

const (
	// minDeadLetterBytes holds the letters of the largest transaction in parts: its bodies, and what each of its messages has in headers.
	minDeadLetterBytes     = wire.MaxTransaction + wire.MaxParts*(16<<10)
	defaultDeadLetterBytes = 1 << 30

	// Waits between attempts to keep a letter while its stream is full or away.
	firstRetry, longestRetry = 100 * time.Millisecond, 15 * time.Second
)

var _ batcher.DeadLetters = (*DeadLetters)(nil)

// DeadLetters keeps the events that can never be applied (I7), in a stream beside the log, each under a subject of its partition and
// sequence. Nothing is dropped from it: when it is full, Put waits until somebody makes room, and the partition with it. Its methods
// may be called concurrently.
type DeadLetters struct {
	js       jetstream.JetStream
	name     string
	created  time.Time // of the log, which the sequences belong to
	subjects wire.Subjects
	get      getter
	timeout  time.Duration
	log      *zap.Logger
}

// lettersFor is how large the stream of the dead letters of a log of logBytes is, where nobody says so.
func lettersFor(logBytes int64) int64 {
	return min(defaultDeadLetterBytes, max(minDeadLetterBytes, logBytes/16))
}

// makeLetters finds the stream of the dead letters, or makes it of most bytes, where cfg does not say of how many.
func (e *ensurer) makeLetters(ctx context.Context, most int64) error {
	name, subjects := lettersName(e.cfg), []string{e.cfg.Subjects.DeadLetters()}
	want := e.kept(name, "Events that persistd can never apply, with the reason in the headers", subjects)
	want.Duplicates = e.cfg.DuplicateWindow
	info, err := e.findOrCreate(ctx, want, sizing{wanted: e.cfg.DeadLetterBytes, most: most, least: minDeadLetterBytes})
	if err != nil {
		return err
	}
	c := &checker{cfg: e.cfg, found: info.Config}
	c.cfg.Name = name
	c.deadLetters()
	if len(c.list) > 0 {
		return &ConfigError{Stream: name, Violations: c.list}
	}
	least := max(e.cfg.DeadLetterBytes, minDeadLetterBytes)
	if e.cfg.DeadLetterBytes == 0 && info.Config.MaxBytes >= least {
		least = 0 // nobody asked for less
	}
	if _, err := e.raise(ctx, info, subjects, least); err != nil {
		if !noRoom(err) || e.cfg.DeadLetterBytes != 0 {
			return err
		}
		// It was made by an earlier version, and serves as it is until a transaction comes that it cannot take.
		e.log.Warn("stream of dead letters is smaller than the letters of the largest transaction", zap.String("name", name), zap.Error(err),
			zap.Int64("max_bytes", info.Config.MaxBytes), zap.Int64("wanted", minDeadLetterBytes), zap.String("hint", "give the account more storage"))
		if _, err := e.raise(ctx, info, subjects, 0); err != nil {
			return err
		}
	}
	return nil
}

// growLetters gives the letters of a new log their share, where they have no more than they were made with before it, cfg does not say another,
// and there is room.
func (e *ensurer) growLetters(ctx context.Context, share int64) error {
	info, err := e.find(ctx, lettersName(e.cfg))
	if err != nil || info == nil || e.cfg.DeadLetterBytes != 0 || info.Config.MaxBytes != minDeadLetterBytes {
		return err
	}
	if _, err := e.raise(ctx, info, nil, share); err != nil && !noRoom(err) {
		return err
	}
	return nil
}

func lettersName(cfg Config) string { return cfg.Name + "_DLQ" }

// openLetters are the dead letters of the log made at created, whose stream is there or not.
func (e *ensurer) openLetters(created time.Time) *DeadLetters {
	name := lettersName(e.cfg)
	return &DeadLetters{
		js: e.js, name: name, created: created, subjects: e.cfg.Subjects, timeout: e.cfg.RequestTimeout,
		get: newGetter(e.js, name, e.cfg.RequestTimeout), log: e.log.With(zap.String("name", name)),
	}
}

// Name is the stream's name.
func (d *DeadLetters) Name() string { return d.name }

// Fill is what the stream of the letters holds.
type Fill struct {
	// Messages are the letters, and the further parts of those too large for one message.
	Messages uint64
	// Bytes of at most MaxBytes. When the next letter does not fit, its partition waits.
	Bytes, MaxBytes uint64
}

// Fill asks the stream's leader what it holds.
func (d *DeadLetters) Fill(ctx context.Context) (Fill, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	st, err := d.js.Stream(ctx, d.name)
	if err != nil {
		return Fill{}, fmt.Errorf("ask for stream %s: %w", d.name, err)
	}
	info := st.CachedInfo()
	return Fill{Messages: info.State.Msgs, Bytes: info.State.Bytes, MaxBytes: uint64(max(0, info.Config.MaxBytes))}, nil
}

// Put keeps a letter of each event and returns once all are stored. While the stream is full or away it waits and tries again, until
// ctx ends. Doing it again keeps one letter: each is published only where there is none of that event yet.
//
// Of a transaction in parts each message has a letter, under its own sequence and with the same reason, so that all of it is kept. The last
// one's, which is found by the event's sequence, is stored last: where it is, the others are.
func (d *DeadLetters) Put(ctx context.Context, events []*wire.Event) error {
	for _, ev := range events {
		for _, one := range messages(ev) {
			if err := d.putOne(ctx, &one); err != nil {
				return fmt.Errorf("keep dead letter of event %d: %w", ev.Message.Sequence, err)
			}
		}
	}
	return nil
}

// messages are the messages of ev as events of their own, in log order.
func messages(ev *wire.Event) []wire.Event {
	if ev.Parts == nil {
		return []wire.Event{*ev}
	}
	all := make([]wire.Event, len(ev.Parts))
	for i := range ev.Parts {
		all[i] = *ev
		all[i].Message, all[i].Parts = ev.Parts[i], nil
	}
	return all
}

func (d *DeadLetters) putOne(ctx context.Context, ev *wire.Event) error {
	messages, err := d.letter(ev, d.js.Conn().MaxPayload())
	if err != nil {
		return err
	}
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(longestRetry), backoff.WithMaxElapsedTime(0))
	for _, m := range messages {
		var last error
		err := backoff.RetryNotify(func() error {
			last = d.publish(ctx, m)
			return last
		}, backoff.WithContext(wait, ctx), func(err error, next time.Duration) {
			d.log.Warn("keep dead letter: try again", zap.Error(err), zap.Duration("after", next), zap.Int("partition", ev.Partition),
				zap.Uint64("sequence", ev.Message.Sequence), zap.String("hint", "the partition waits: if the stream is full, raise its max_bytes or purge letters that were dealt with"))
		})
		if err != nil {
			return errors.Join(err, last)
		}
		wait.Reset()
	}
	return nil
}

// publish stores m unless its subject has a letter of this event already; one of an older log's event under the same sequence is none.
func (d *DeadLetters) publish(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	var expect uint64
	for range 2 {
		_, err := d.js.PublishMsg(ctx, m, jetstream.WithExpectStream(d.name), jetstream.WithExpectLastSequencePerSubject(expect), jetstream.WithRetryAttempts(0))
		if !wrongLastSequence(err) {
			return err //nolint:wrapcheck // Put wraps it.
		}
		there, err := d.get.last(ctx, m.Subject)
		if err != nil {
			return err
		}
		if there.Header.Get(HeaderStreamCreated) == d.stamp() {
			return nil
		}
		expect = there.Sequence
	}
	return errors.New("somebody else writes under the letter's subject")
}

func wrongLastSequence(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// DeadLetter returns why the event at seq of partition is a dead letter; found is false when it is none. The leader is asked, so a
// letter that Put has kept is found by everybody.
func (d *DeadLetters) DeadLetter(ctx context.Context, partition int, seq uint64) (reason wire.Poison, found bool, err error) {
	m, err := d.get.last(ctx, d.subjects.DeadLetter(partition, seq))
	switch {
	case errors.Is(err, errNotFound):
		return wire.Poison{}, false, nil
	case err != nil:
		return wire.Poison{}, false, fmt.Errorf("find dead letter of event %d: %w", seq, err)
	case m.Header.Get(HeaderStreamCreated) != d.stamp():
		return wire.Poison{}, false, nil
	}
	number, err := strconv.ParseUint(m.Header.Get(HeaderErrorNumber), 10, 16)
	if err != nil {
		return wire.Poison{}, false, fmt.Errorf("read dead letter of event %d: error number: %w", seq, err)
	}
	return wire.Poison{Code: m.Header.Get(HeaderCode), Reason: unescape(m.Header.Get(HeaderReason)), ErrorNumber: uint16(number)}, true, nil
}

func (d *DeadLetters) stamp() string { return d.created.Format(time.RFC3339Nano) }
