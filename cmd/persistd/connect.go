package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/ingest"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// openLog connects to NATS and finds or makes the log.
func (d *daemon) openLog(ctx context.Context) error {
	if err := logConfig(d.cfg).WithDefaults().Validate(); err != nil {
		return err //nolint:wrapcheck // it names the setting.
	}
	var refused atomic.Pointer[error] // why the last attempt to connect came to nothing; the connection itself forgets at every attempt
	nc, err := connectNATS(d.cfg.NATS, "persistd "+d.cfg.Instance, d.log.Named("nats"), nats.RetryOnFailedConnect(true),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { refused.Store(&err) }))
	if err != nil {
		return err
	}
	d.nc = nc
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("use JetStream: %w", err)
	}
	d.js = js
	return d.persist(ctx, "open log", func(ctx context.Context) error {
		if !nc.IsConnected() {
			if err := nc.LastError(); err != nil {
				refused.Store(&err)
			}
			if err := refused.Load(); err != nil {
				return notConnected(d.cfg.NATS.URL, *err)
			}
			return notConnected(d.cfg.NATS.URL, nats.ErrNoServers)
		}
		s, err := stream.Ensure(ctx, js, logConfig(d.cfg), d.log.Named("stream"))
		var settings *stream.ConfigError
		var server *stream.ServerError
		switch {
		case errors.As(err, &settings), errors.As(err, &server) && server.Err == nil: // an old server stays old
			return backoff.Permanent(err)
		case errors.Is(err, context.DeadlineExceeded) && errors.Is(nc.LastError(), nats.ErrPermissionViolation):
			// The server drops what the user may not publish, so the request ends in silence.
			return fmt.Errorf("%w: %w (%s)", err, nc.LastError(), "let the user publish to $JS.API.> and subscribe to its inbox")
		case err != nil:
			return err //nolint:wrapcheck // persist says what was tried.
		}
		d.stream = s
		return nil
	})
}

// notConnected says why there is no connection to urls, and what to do about it.
func notConnected(urls string, last error) error {
	denied := errors.Is(last, nats.ErrAuthorization) || errors.Is(last, nats.ErrAuthExpired) || errors.Is(last, nats.ErrAuthRevoked) ||
		strings.EqualFold(last.Error(), nats.ErrAuthorization.Error()) // of a retry it is the server's line, and no sentinel
	switch {
	case denied:
		return fmt.Errorf("connect to NATS at %s: %w (check the user, password, token or credentials file)", redacted(urls), last)
	case errors.Is(last, nats.ErrNoServers):
		return fmt.Errorf("no NATS server answers at %s: is it running, and reachable from here?", redacted(urls))
	default:
		return fmt.Errorf("connect to NATS at %s: %w", redacted(urls), last)
	}
}

// openStore opens the database, brings its schema up to date where that is wanted, registers the log in it, and asks for its limits.
func (d *daemon) openStore(ctx context.Context) (limits mysqlstore.Limits, err error) {
	store, err := mysqlstore.Open(storeConfig(d.cfg), d.log.Named("mysqlstore"), d.reg)
	if err != nil {
		return limits, fmt.Errorf("open database: %w", err)
	}
	d.store = store
	reader, err := ingest.New(d.js, ingest.Config{
		Stream: d.stream.Name(), Created: d.stream.Created(), Subjects: d.stream.Subjects(), Partitions: d.stream.Partitions(),
	}, d.log.Named("ingest"), d.reg)
	if err != nil {
		return limits, err //nolint:wrapcheck // it names the setting.
	}
	d.events, d.recovery = reader, newRecovery(d, reader.Pending)
	err = d.persist(ctx, "prepare database", func(ctx context.Context) (err error) {
		prepare := store.Migrate
		if d.cfg.MySQL.Migrate == "off" {
			prepare = store.CheckSchema
		}
		if err := prepare(ctx); err != nil {
			return permanent(err)
		}
		if err := d.register(ctx); err != nil {
			return err
		}
		// Before the replica can say that it is ready: what was lost before it started is still lost.
		if err := d.recovery.gaps.look(ctx); err != nil {
			return permanent(err)
		}
		limits, err = store.Limits(ctx)
		return permanent(err)
	})
	return limits, err
}

// permanent marks an error of the database that no waiting mends.
func permanent(err error) error {
	var e *batcher.Error
	if errors.As(err, &e) && e.Class == batcher.Never {
		return backoff.Permanent(err)
	}
	return err
}

// persist tries until it works, says why it does not yet, and gives up when ctx ends or the error is permanent.
func (d *daemon) persist(ctx context.Context, what string, try func(context.Context) error) error {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(d.cfg.Retry.Min), backoff.WithMaxInterval(d.cfg.Retry.Max),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
	d.waitingFor.Store(&reason{what, errors.New("under way")})
	err := backoff.RetryNotify(func() error { return try(ctx) }, backoff.WithContext(pauses, ctx), func(err error, pause time.Duration) {
		d.log.Warn("cannot start yet, trying again", zap.String("step", what), zap.Duration("pause", pause), zap.Error(err))
		d.waitingFor.Store(&reason{what, err})
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	d.waitingFor.Store(nil)
	return nil
}

// reason is what a start waits for.
type reason struct {
	step string
	err  error
}

// connectNATS connects for as long as it takes; what happens to the connection is logged.
func connectNATS(c config.NATS, name string, log *zap.Logger, more ...nats.Option) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name(name), nats.Timeout(c.ConnectTimeout), nats.MaxReconnects(-1),
		// A request made while the connection is down must fail and be made again, not sit in a buffer.
		nats.ReconnectBufSize(-1),
		// Credentials that are being exchanged would otherwise, after two refusals, end the connection for good, and leave a replica
		// that does nothing for ever.
		nats.IgnoreAuthErrorAbort(),
		// A server that is gone without a word is noticed in 15 s; with the default it is minutes, in which the leases are held and nothing
		// is applied.
		nats.PingInterval(5 * time.Second), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(10 * time.Second),
		nats.ReconnectWait(250 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when it is we who close
				log.Warn("connection lost", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("connection is back", zap.String("server", nc.ConnectedServerName())) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("connection error", zap.String("subject", subject), zap.Error(err))
		}),
	}, more...)
	// Each synchronous subscription has a channel of so many places, 64k by default: 512 KiB, and there is one for each partition. What comes at
	// once is a pull's or a page's messages, some hundreds, and what the server says of them.
	options = append(options, nats.SyncQueueLen(8192))
	if c.CredsFile != "" {
		options = append(options, nats.UserCredentials(c.CredsFile))
	}
	if c.User != "" {
		options = append(options, nats.UserInfo(c.User, string(c.Password)))
	}
	if c.Token != "" {
		options = append(options, nats.Token(string(c.Token)))
	}
	if c.TLSCA != "" {
		options = append(options, nats.RootCAs(c.TLSCA))
	}
	if c.TLSCert != "" {
		options = append(options, nats.ClientCert(c.TLSCert, c.TLSKey))
	}
	nc, err := nats.Connect(c.URL, options...)
	if err != nil {
		return nil, notConnected(c.URL, err)
	}
	return nc, nil
}

// redacted is a list of servers without the passwords that it may hold.
func redacted(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		parsed, err := url.Parse(strings.TrimSpace(u))
		if err != nil {
			list[i] = "(a URL that does not parse)"
			continue
		}
		list[i] = parsed.Redacted()
	}
	return strings.Join(list, ",")
}

func streamConfig(c config.Stream) stream.Config {
	return stream.Config{
		Name: c.Name, Subjects: wire.Subjects{Prefix: c.Prefix}, Replicas: c.Replicas, Partitions: c.Partitions,
		MaxBytes: int64(c.MaxBytes), DuplicateWindow: c.DuplicateWindow,
	}
}

// logConfig is streamConfig with the size of the dead letters.
func logConfig(c config.Config) stream.Config {
	s := streamConfig(c.Stream)
	s.DeadLetterBytes = int64(c.Poison.MaxBytes)
	return s
}

func storeConfig(c config.Config) mysqlstore.Config {
	return mysqlstore.Config{
		DSN: string(c.MySQL.DSN), Owner: c.Instance, Lease: c.Lease.Duration, Writers: c.MySQL.Writers, Readers: c.MySQL.Readers,
		ConnectTimeout: c.MySQL.ConnectTimeout,
	}
}

// semantic is a version as semver.org has it, in so far as versions of ours look.
var semantic = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

// serviceVersion is the version as semantic versioning has it, which the service's discovery insists on.
func serviceVersion() string {
	if semantic.MatchString(version) {
		return version
	}
	return "0.0.0"
}
