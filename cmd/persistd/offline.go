package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/ingest"
	"github.com/persistd/persistd/internal/logging"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// offline is the log and a database beside the daemon: for commands that read both, or write without a lease.
type offline struct {
	cfg    config.Config
	log    *zap.Logger
	nc     *nats.Conn
	js     jetstream.JetStream
	stream *stream.Stream
	reader *ingest.Reader
	store  *mysqlstore.Store
}

// openOffline opens the log, as it is, and the database of dsn. Nothing is asked of the database yet. It waits for nobody who is away.
func openOffline(ctx context.Context, cfg config.Config, dsn config.Secret, what string, std std) (_ *offline, err error) {
	log, _, err := logging.New(zapcore.Lock(zapcore.AddSync(std.err)), "warn", "console")
	if err != nil {
		return nil, fmt.Errorf("prepare log: %w", err)
	}
	o := &offline{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, o.close())
		}
	}()
	if o.nc, err = connectNATS(cfg.NATS, "persistd "+what, log); err != nil {
		return nil, err
	}
	if o.js, err = jetstream.New(o.nc); err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	o.stream, err = stream.Find(ctx, o.js, streamConfig(cfg.Stream), log)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = fmt.Errorf("%w (persistd serve makes it: is this the right server, and the right name?)", err)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was looked for.
	}
	reg := prometheus.NewRegistry()
	o.reader, err = ingest.New(o.js, ingest.Config{
		Stream: o.stream.Name(), Created: o.stream.Created(), Subjects: o.stream.Subjects(), Partitions: o.stream.Partitions(),
	}, log, reg)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the setting.
	}
	settings := storeConfig(cfg)
	settings.DSN, settings.Owner = string(dsn), what
	if o.store, err = mysqlstore.Open(settings, log, reg); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return o, nil
}

func (o *offline) close() error {
	if o.nc != nil {
		o.nc.Close()
	}
	if o.store != nil {
		return o.store.Close()
	}
	return nil
}

// logged is what the database knows the log by.
func (o *offline) logged() mysqlstore.Log {
	return mysqlstore.Log{Stream: o.stream.Name(), Created: o.stream.Created(), Partitions: o.stream.Partitions()}
}

// start is the sequence after which the events of a partition are read that were logged since t, or all when t is zero; found is false when
// there are none.
func (o *offline) start(ctx context.Context, partition int, since time.Time) (after uint64, found bool, err error) {
	if since.IsZero() {
		return o.stream.After(ctx, partition, 1) //nolint:wrapcheck // it says what was looked for.
	}
	return o.stream.Since(ctx, partition, since) //nolint:wrapcheck // it says what was looked for.
}

// comparedLog is the log as a comparison sees it.
type comparedLog struct {
	*ingest.Reader
	stream *stream.Stream
}

func (l comparedLog) Event(ctx context.Context, seq uint64) (wire.Event, bool, error) {
	return l.stream.Event(ctx, seq) //nolint:wrapcheck // this is stream's method under another roof.
}

// moment is a time on the command line: 2026-03-01T12:00:00Z, or how long ago: 2h30m.
type moment struct {
	time.Time
	text string // as it was given
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *moment) UnmarshalText(text []byte) error {
	s := string(text)
	m.text = s
	if ago, err := time.ParseDuration(s); err == nil && ago > 0 {
		m.Time = time.Now().Add(-ago)
		return nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("parse %q: want a time like 2026-03-01T12:00:00Z, or how long ago, like 2h30m", s)
	}
	m.Time = t
	return nil
}

// share is a part of something on the command line: 1%, or 0.01.
type share float64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *share) UnmarshalText(text []byte) error {
	digits, percent := strings.CutSuffix(string(text), "%")
	f, err := strconv.ParseFloat(digits, 64)
	if percent {
		f /= 100
	}
	if err != nil || math.IsNaN(f) || f <= 0 || f > 1 {
		return fmt.Errorf("parse %q: want more than nothing and at most all, like 1%% or 0.01", text)
	}
	*s = share(f)
	return nil
}

// exitError ends the process with a code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// codeUsage is the exit code of a command line that is not understood: 1 is what a comparison says that found something.
const codeUsage = 2

// exitCode is what the process ends with after err.
func exitCode(err error) int {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return 1
}
