package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// Durability is when SaveStep returns, and so what a step without an error survives.
type Durability uint8

const (
	// Async returns when the step is queued in the client. It survives nothing until it was flushed: errors come from Flush,
	// Close and the handler of [WithErrorHandler].
	Async Durability = iota + 1
	// Logged returns when the log has stored the step. It survives the worker, persistd and MySQL dying; a power cut of the NATS
	// server only with three replicas or sync_interval: always.
	Logged
	// Committed returns when the step is in MySQL.
	Committed
)

// String is the durability's name: async, logged or committed.
func (d Durability) String() string {
	switch d {
	case Async:
		return "async"
	case Logged:
		return "logged"
	case Committed:
		return "committed"
	default:
		return fmt.Sprintf("durability(%d)", uint8(d))
	}
}

type durabilityKey struct{}

// ContextWithDurability returns a ctx whose SaveStep calls have durability d, whatever the store's is.
func ContextWithDurability(ctx context.Context, d Durability) context.Context {
	return context.WithValue(ctx, durabilityKey{}, d)
}

// Option changes a default of [Open], [NewMySQLStore] or [NewMemStore]. One that says nothing to the store that is made (a NATS option to one
// in MySQL) is ignored, so that the constructor can be exchanged alone.
type Option func(*config)

// config is what the options set. It does not change after newConfig.
type config struct {
	durability     Durability
	namespace      string
	prefix         string
	maxCount       int
	maxBytes       int
	timeout        time.Duration
	attemptTimeout time.Duration
	retryLimit     time.Duration
	closeTimeout   time.Duration
	grouping       GroupPublish
	compressFrom   int
	maxDepth       int
	natsOptions    []nats.Option
	conn           *nats.Conn
	logger         *zap.Logger
	onError        func(error)
	codec          Codec
	attempt        int
	eventLease     time.Duration
	pool           Pool
	migrate        bool
}

func defaults() config {
	return config{
		durability: Logged,
		namespace:  wire.DefaultNamespace,
		prefix:     "persistd",
		// 4096 steps of the 16 KB that agents typically have are 64 MiB.
		maxCount: 4096,
		maxBytes: 64 << 20,
		timeout:  30 * time.Second,
		// Longer than a stream's leader election usually takes.
		attemptTimeout: 5 * time.Second,
		// The stream's duplicate window of 2 minutes, less one attempt's journey through anything that can delay it.
		retryLimit:   90 * time.Second,
		closeTimeout: 30 * time.Second,
		compressFrom: 8 << 10,
		maxDepth:     wire.MaxDepthPortable,
		logger:       zap.NewNop(),
		codec:        JSON{},
		eventLease:   30 * time.Second,
		migrate:      true,
	}
}

// WithDurability sets when SaveStep returns; default [Logged]. [ContextWithDurability] overrides it for a call.
func WithDurability(d Durability) Option { return func(c *config) { c.durability = d } }

// WithNamespace sets whose events these are: letters, digits, _ and -, at most 64 of them; default "default".
func WithNamespace(namespace string) Option { return func(c *config) { c.namespace = namespace } }

// WithPrefix sets the first token, or tokens, of every NATS subject, as persistd is configured; default "persistd".
func WithPrefix(prefix string) Option { return func(c *config) { c.prefix = prefix } }

// WithMaxInFlight bounds what is queued and outstanding in the client: at most steps of them and at most bytes of message bodies
// together (a single larger one is taken when nothing else is there). Default 4096 and 64 MiB. Both are at least 1.
func WithMaxInFlight(steps, bytes int) Option {
	return func(c *config) { c.maxCount, c.maxBytes = steps, bytes }
}

// WithTimeout sets the deadline of calls whose ctx has none; default 30 s, above 0.
func WithTimeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// WithAttemptTimeout sets how long one attempt of a publish or a read waits for its answer before the next; default 5 s, above 0.
// A lost connection is noticed at once.
func WithAttemptTimeout(d time.Duration) Option { return func(c *config) { c.attemptTimeout = d } }

// WithRetryLimit sets for how long a publish that went unanswered is retried, counted from its first such attempt; default 90 s,
// above 0. It must stay well below the stream's duplicate window (2 minutes by default), or a step may be logged twice.
func WithRetryLimit(d time.Duration) Option { return func(c *config) { c.retryLimit = d } }

// WithCloseTimeout sets for how long Close flushes; default 30 s. 0 does not flush.
func WithCloseTimeout(d time.Duration) Option { return func(c *config) { c.closeTimeout = d } }

// WithCompression sets the size in bytes from which a message body is zstd-compressed; default 8 KiB. 0 compresses nothing.
func WithCompression(from int) Option { return func(c *config) { c.compressFrom = from } }

// WithGroupPublish sets whether writes of different runs that are to be published at the same time go as one atomic batch of the log, with
// one fsync for all of them; default [GroupAuto]. It changes what they cost, not what they mean: each write is logged or refused by itself,
// in the order of its run. It needs nats-server 2.12; on an older one, and where the stream does not allow batches, each goes by itself.
func WithGroupPublish(g GroupPublish) Option { return func(c *config) { c.grouping = g } }

// WithMaxDepth sets how deep a state may be nested: from 1 to 100, default 31, which is what MariaDB takes. MySQL takes 100.
func WithMaxDepth(depth int) Option { return func(c *config) { c.maxDepth = depth } }

// WithNATSOptions adds options for the connection: credentials, TLS, a name. They are applied after the client's own.
func WithNATSOptions(opts ...nats.Option) Option {
	return func(c *config) { c.natsOptions = append(c.natsOptions, opts...) }
}

// WithConn uses a connection of the caller's, who goes on owning it: Close leaves it open. Open's URL must then be "". A publish that the
// server forbids is noticed on a shared connection only after an attempt's timeout, and not always as such.
func WithConn(nc *nats.Conn) Option { return func(c *config) { c.conn = nc } }

// WithLogger sets where the client logs a lost and regained connection and publishes that do not get through. Default nowhere.
func WithLogger(l *zap.Logger) Option { return func(c *config) { c.logger = l } }

// WithErrorHandler sets what is called with the error of every [Async] step that was given up, in addition to Flush reporting
// it. Calls come one at a time, from a goroutine of the client; until it returns the step counts as in flight, so it must not
// call the store.
func WithErrorHandler(handle func(error)) Option { return func(c *config) { c.onError = handle } }

var (
	namespacePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	prefixPattern    = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)

// WithCodec sets how states, frontiers and recorded I/O are encoded; default [JSON]. Package seal has one that encrypts.
func WithCodec(codec Codec) Option { return func(c *config) { c.codec = codec } }

// WithAttempt makes all writes of the store be of attempt n, from 1 on, of their runs: for a process that was told which attempt it is. A
// newer attempt than the run's begins with its first write. 0, the default, is none. See [Store.BeginAttempt].
func WithAttempt(n int) Option { return func(c *config) { c.attempt = n } }

// WithEventLease sets for how long events of [Store.PendingEvents] are this store's; default 30 s, at least 1 ms. Emit and mark them within it.
func WithEventLease(d time.Duration) Option { return func(c *config) { c.eventLease = d } }

// WithPool sets how a store of [NewMySQLStore] uses connections.
func WithPool(p Pool) Option { return func(c *config) { c.pool = p } }

// WithMigration sets whether [NewMySQLStore] makes and brings up to date the tables, as it does by default. Without, it fails when they are
// not what it needs; persistd migrate then does it, under a user that may.
func WithMigration(on bool) Option { return func(c *config) { c.migrate = on } }

// newConfig applies opts and reports everything that is wrong with them, what the constructor finds wrong included.
func newConfig(opts []Option, more ...func(c config) error) (config, error) {
	c := defaults()
	for _, opt := range opts {
		opt(&c)
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.durability.valid(), "durability is %s, not Async, Logged or Committed", c.durability)
	check(namespacePattern.MatchString(c.namespace), "namespace %.100q is not 1 to 64 letters, digits, _ or -", c.namespace)
	check(len(c.prefix) <= 128 && prefixPattern.MatchString(c.prefix), "prefix %.200q is not tokens of letters, digits, _ or -, joined by dots", c.prefix)
	check(c.maxCount >= 1, "max in flight is %d steps, not at least 1", c.maxCount)
	check(c.maxBytes >= 1, "max in flight is %d bytes, not at least 1", c.maxBytes)
	check(c.timeout > 0, "timeout is %s, not above 0", c.timeout)
	check(c.attemptTimeout > 0, "attempt timeout is %s, not above 0", c.attemptTimeout)
	check(c.retryLimit > 0, "retry limit is %s, not above 0", c.retryLimit)
	check(c.closeTimeout >= 0, "close timeout is %s, not at least 0", c.closeTimeout)
	check(c.grouping <= GroupNever, "group publish is %d, not GroupAuto, GroupAlways or GroupNever", c.grouping)
	check(c.compressFrom >= 0, "compression threshold is %d bytes, not at least 0", c.compressFrom)
	check(c.maxDepth >= 1 && c.maxDepth <= wire.MaxDepth, "max depth is %d, not 1 to %d", c.maxDepth, wire.MaxDepth)
	check(c.logger != nil, "logger is nil")
	check(c.codec != nil, "codec is nil")
	check(c.attempt >= 0 && c.attempt <= math.MaxInt32, "attempt is %d, not from 0 to %d", c.attempt, math.MaxInt32)
	check(c.eventLease >= time.Millisecond, "event lease is %s, not at least 1ms", c.eventLease)
	for _, check := range more {
		if err := check(c); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return c, &fault{kind: ErrInvalidOption, err: errors.Join(errs...)}
	}
	return c, nil
}

// natsConfig checks what Open is given.
func natsConfig(natsURL string) func(c config) error {
	return func(c config) error {
		var errs []error
		if c.conn != nil && natsURL != "" {
			errs = append(errs, errors.New("both a connection and a URL are given: pass the URL \"\" with WithConn"))
		}
		if c.conn != nil && len(c.natsOptions) > 0 {
			errs = append(errs, errors.New("both a connection and NATS options are given: the options come too late for it"))
		}
		if c.conn == nil && natsURL == "" {
			errs = append(errs, errors.New("the URL is empty: give one, e.g. nats://127.0.0.1:4222, or WithConn"))
		}
		return errors.Join(errs...)
	}
}

func (d Durability) valid() bool { return d >= Async && d <= Committed }
