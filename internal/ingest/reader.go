package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// Errors that end a Read for good. The process has to look at the log anew before it may read again.
var (
	// ErrOther says that the stream is gone, or was made again: the position belongs to a log that is no more.
	ErrOther = errors.New("log is not the stream that it was")
	// ErrShort says that the log lost its end (a power cut without sync_interval: always, or a backup restored): it ends before the
	// position, or has another event there than the one delivered. New events take sequences that are committed already.
	ErrShort = errors.New("log lost its end")
)

// Deliver takes an event; it may block.
type Deliver = func(context.Context, wire.Event) error

// The method of [partition.Log] that a Reader has; the stream has the other.
var _ interface {
	Read(ctx context.Context, partition int, after wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error
} = (*Reader)(nil)

var _ partition.Log = struct {
	*Reader
	trimmer
}{}

type trimmer interface {
	Trim(ctx context.Context, partition int, position wire.Place, before time.Time) error
}

// Reader reads the log. Its methods may be called concurrently, Read once per partition.
type Reader struct {
	server  Server
	cfg     Config
	log     *zap.Logger
	metrics *metrics
}

// New returns a reader of the log of cfg. Nothing is asked of the server until Read.
func New(js jetstream.JetStream, cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Reader, error) {
	cfg = cfg.WithDefaults()
	return NewOn(natsServer{js: js, cfg: cfg}, cfg, log, reg)
}

// NewOn returns a reader of the log of cfg that server has.
func NewOn(server Server, cfg Config, log *zap.Logger, reg prometheus.Registerer) (*Reader, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	log = log.With(zap.String("stream", cfg.Stream))
	if cfg.Partitions > 1 {
		server = newSharing(server, cfg, log, m)
	}
	return &Reader{server: server, cfg: cfg, log: log, metrics: m}, nil
}

// Read calls deliver with every event of partition after the place after, in log order and each once, until ctx ends or deliver
// returns an error, and returns that. It waits while the server is away. deliver may block; the reader then holds no more than its
// read-ahead. An event's bytes are the event's own. pending, which may be nil, is told when a session begins, and after each event, how many
// messages of the partition were behind it in the log when the server sent it, and while the parts of a transaction come, which are behind it
// still. Where the partitions are read through one consumer that is an estimate, until all was read.
//
// I5: consecutive messages of the partition that are the parts of one transaction are delivered as one event, with the sequence of the
// last. Parts without their others are delivered as poison ([wire.CodePart]), each by itself; a transaction that is not complete at
// the end of the log waits there for its other parts, or for anything else.
//
// It also returns, for good, an error that wraps [ErrOther] or [ErrShort] when the log is not the one that after is a position of, and
// [nats.ErrConnectionClosed] when the connection was closed by this process.
//
// I4: the sequence of what is delivered rises, whatever the server sends.
func (r *Reader) Read(ctx context.Context, partition int, after wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error {
	p := &position{
		r: r, partition: partition, last: after.Sequence, logged: after.Logged, deliver: deliver, pending: pending,
		metrics: r.metrics.of(partition), log: r.log.With(zap.Int("partition", partition)),
	}
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(r.cfg.MaxWait),
		backoff.WithRandomizationFactor(max(0, r.cfg.Jitter)), backoff.WithMaxElapsedTime(0))
	var gone time.Time // since when the server says that there is no such stream
	for {
		before := p.last
		err := p.session(ctx)
		var ended *endError
		var anew *anewError
		switch {
		case errors.As(err, &ended):
			return ended.err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &anew): // nothing is wrong, and sharing sees that it does not happen often
			gone = time.Time{} // the server had the stream
			if p.last != before {
				wait.Reset()
			}
			continue
		case errors.Is(err, jetstream.ErrStreamNotFound):
			if gone.IsZero() {
				gone = time.Now()
			} else if time.Since(gone) >= r.cfg.GoneAfter {
				return fmt.Errorf("read partition %d: %w: %w", partition, ErrOther, err)
			}
		default:
			gone = time.Time{}
		}
		if p.last != before || errors.Is(err, errLost) { // the next session waits for a connection, and no longer than that takes
			wait.Reset()
		}
		p.metrics.resets.Inc()
		pause := wait.NextBackOff()
		p.log.Warn("read log: start again", zap.Error(err), zap.Uint64("after", p.last), zap.Duration("wait", pause))
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// endError is an error that no new session mends.
type endError struct{ err error }

func (e *endError) Error() string { return e.err.Error() }
func (e *endError) Unwrap() error { return e.err }

// position is how far one Read is. One goroutine has it.
//
// It moves past whole events only, so a new session, which goes on after it, reads all parts of a transaction that the one before had
// begun to read.
type position struct {
	r         *Reader
	partition int
	last      uint64    // the sequence of the event delivered last, or where reading began
	logged    time.Time // when the event at last was logged; zero: not known
	deliver   Deliver
	pending   func(int64)
	metrics   partitionMetrics
	log       *zap.Logger
}

// give delivers one event and what it is to the position. An error of deliver ends the Read.
func (p *position) give(ctx context.Context, a *arrival) error {
	p.metrics.received(&a.ev)
	if err := p.deliver(ctx, a.ev); err != nil {
		return &endError{err}
	}
	p.last, p.logged = a.ev.Message.Sequence, a.ev.Message.Logged
	p.tell(a.behind)
	return nil
}

// tell says how many messages of the partition are behind the event delivered last.
func (p *position) tell(behind uint64) {
	if p.pending != nil {
		p.pending(int64(min(behind, 1<<62)))
	}
}

// sleep waits for d and reports whether it did: false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
