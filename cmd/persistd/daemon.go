package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/admin"
	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/ingest"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/relay"
	"github.com/persistd/persistd/internal/service"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// daemon is `persistd serve`, wired:
//
//	            ┌────────────────────────── partition.Set ──────────────────────────┐
//	JetStream ──┼─▶ ingest.Reader ──events──▶ batcher.Batcher ──batches──▶ mysqlstore ├──▶ MySQL
//	    ▲  ▲    │        one per partition          │      │                    ▲ ▲  │
//	    │  │    └───────────────────────────────────┼──────┼── leases ──────────┘ │  │
//	    │  └──────────── stream.DeadLetters ◀─poison┘      │ OnCommit             │
//	    │ tail                                             ▼                      │ row + position
//	stream.Stream ◀─── readpath.Reader ◀── bounds ── position.Tracker             │
//	                        ▲      └───────────────────────────────────────────────┘
//	 NATS requests ──▶ service.Service ──announcements──▶ the other replicas      admin.Server ◀── probes, scrapes
//
//	MySQL ──committed outbox events──▶ relay.Relay ──▶ stream.Events             retention.Janitor ──▶ MySQL
//
// Start waits for what is away and fails for what waiting cannot mend. Stop goes the way of the events: intake and batchers first,
// then the readers, whose answers wait for the last commits, then the connections.
type daemon struct {
	cfg     config.Config
	log     *zap.Logger
	reg     *prometheus.Registry
	started time.Time
	hooks   hooks

	admin   *admin.Server
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  *stream.Stream
	store   *mysqlstore.Store
	set     *partition.Set
	service *service.Service
	tracker *position.Tracker
	events  *ingest.Reader

	recovery   *recovery
	logSize    logSize
	background background
	letters    *letterbox
	relaying   atomic.Pointer[relay.Relay] // to be woken by commits; nil while there is none

	waitingFor atomic.Pointer[reason] // what start waits for
	watching   sync.WaitGroup         // the log, the recovery and the dead letters are watched, until unwatch
	unwatch    context.CancelFunc
	ready      chan struct{} // closed when everything runs
	failed     chan error    // why the daemon cannot go on; of one place, the first reason counts
}

// hooks let a test stand between the parts.
type hooks struct {
	store func(batcher.Store) batcher.Store
	reads func(*readpath.Reader)
}

func newDaemon(cfg config.Config, log *zap.Logger, levels admin.Options, h hooks) (*daemon, error) {
	d := &daemon{
		cfg: cfg, log: log, reg: prometheus.NewRegistry(), started: time.Now(), hooks: h,
		ready: make(chan struct{}), failed: make(chan error, 1),
	}
	d.letters = newLetterbox(d.reg, log.Named("poison"))
	d.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &lag{d: d}, &d.logSize)
	levels.Listen, levels.DebugListen, levels.Version = cfg.HTTP.Listen, cfg.Pprof.Listen, version
	levels.Gatherer, levels.Registerer, levels.Log = d.reg, d.reg, log.Named("admin")
	// No startup check: a NATS or MySQL that is away is waited for, and restarting the process would only add to it.
	levels.Ready = d.readyChecks()
	var err error
	d.admin, err = admin.New(levels)
	if err != nil {
		return nil, fmt.Errorf("prepare HTTP: %w", err)
	}
	return d, nil
}

// start brings everything up. It blocks while NATS or MySQL are away, probed as not ready; ctx ends that.
func (d *daemon) start(ctx context.Context) error {
	if err := d.admin.Start(ctx); err != nil {
		return fmt.Errorf("start HTTP: %w", err)
	}
	d.log.Info("probes are answered", zap.Stringer("http", d.admin.Addr()))
	if err := d.openLog(ctx); err != nil {
		return err
	}
	limits, err := d.openStore(ctx)
	if err != nil {
		return err
	}
	batching := batchConfig(d.cfg, limits)
	if err := batching.Validate(); err != nil {
		return err //nolint:wrapcheck // it names the setting.
	}

	d.tracker = position.NewTracker(d.stream.Partitions())
	log := newSameLog(d.stream, func(ctx context.Context) error {
		info, err := d.stream.Info(ctx)
		if err == nil {
			d.logSize.last.Store(&info)
		}
		return err //nolint:wrapcheck // check says what was tried.
	})
	reader := &readpath.Reader{
		Rows: d.store, History: d.store, Outbox: d.store, Tail: log, Letters: d.stream.DeadLetters(), Positions: d.tracker,
		Partitions: d.stream.Partitions(), Namespace: wire.DefaultNamespace,
		Urge: func(p int, seq uint64) { d.set.Urge(p, seq) }, // the set is made before anybody reads
	}
	if d.hooks.reads != nil {
		d.hooks.reads(reader)
	}
	d.service = service.New(service.Config{
		Subjects: d.stream.Subjects(), Version: serviceVersion(), Stream: d.stream.Name(), Created: d.stream.Created(),
		Leases: func() { d.set.Wake() }, // the set is made before the service starts
	}, d.nc, reader, d.tracker, d.status, d.reg, d.log.Named("service"))

	store, joint := batcher.Store(d.store), batcher.Joint(d.store)
	if d.hooks.store != nil {
		store, joint = d.hooks.store(store), nil // it is to see every commit
	}
	metrics, circuit := batcher.NewMetrics(d.reg), circuitConfig(d.cfg.Poison, batching)
	shared := batcher.Deps{
		Store: store, DeadLetters: d.stream.DeadLetters(), Gate: batcher.NewGate(d.cfg.MySQL.Writers, joint),
		Circuit:  batcher.NewCircuit(circuit, metrics, d.log.Named("poison")),
		OnCommit: d.committed, Metrics: metrics, Log: d.log.Named("batcher"),
	}
	d.set = partition.New(partition.Config{
		Partitions: d.stream.Partitions(), Lease: d.cfg.Lease.Duration,
		ReplayWindow: d.cfg.Stream.ReplayWindow, TrimEvery: d.cfg.Stream.TrimInterval,
	}, partition.Deps{
		Leases: d.store, Logger: d.log.Named("partition"), Metrics: partition.NewMetrics(d.reg), Tell: d.service.AnnounceLeases,
		Log:     watchedLog{logOf{d.events, d.stream}, d.recovery, d.fail},
		Batcher: func(at batcher.Start) *batcher.Batcher { return batcher.New(batching, shared, at) },
	})
	if err := d.service.Start(ctx); err != nil {
		return err //nolint:wrapcheck // it says what was started.
	}
	if err := d.set.Start(ctx); err != nil {
		return err //nolint:wrapcheck // it says what was started.
	}
	if err := d.startBackground(ctx); err != nil {
		return err
	}
	watch, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	d.unwatch = unwatch
	d.watching.Go(func() { log.watch(watch, d.fail) })
	d.watching.Go(func() { d.recovery.watch(watch) })
	d.watching.Go(func() { d.letters.watch(watch, d.stream.DeadLetters()) })
	close(d.ready)
	d.log.Info("serving", zap.String("version", version), zap.String("instance", d.cfg.Instance), zap.String("stream", d.stream.Name()),
		zap.Int("partitions", d.stream.Partitions()), zap.String("database", limits.Engine+" "+limits.Version), zap.Stringer("http", d.admin.Addr()))
	return nil
}

// committed passes a commit on: to the readers here, and to the other replicas.
func (d *daemon) committed(c batcher.Committed) {
	at := position.Commit{Partition: c.Partition, From: c.From, To: c.To}
	for i := range c.Poison {
		if at.Rejected == nil {
			at.Rejected = map[uint64]wire.Poison{}
		}
		at.Rejected[c.Poison[i].Message.Sequence] = *c.Poison[i].Poison
	}
	d.recovery.committed(c.Partition, c.To)
	d.tracker.Advance(at)
	d.service.Announce(at)
	if r := d.relaying.Load(); r != nil {
		r.Wake()
	}
}

// fail says that the daemon cannot go on.
func (d *daemon) fail(err error) {
	select {
	case d.failed <- err:
	default: // the first reason counts
	}
}

// stop takes everything down: drain bounds what is still committed, hard what is waited for after that. skip ends the drain early.
// The error says what was not finished; nothing of it is lost, it is still in the log.
func (d *daemon) stop(skip context.Context) error {
	d.admin.SetDraining()
	base := context.WithoutCancel(skip)
	var errs []error
	if d.set != nil {
		drain, cancel := context.WithTimeoutCause(skip, d.cfg.Shutdown.DrainTimeout, fmt.Errorf("drain took longer than %s", d.cfg.Shutdown.DrainTimeout))
		errs = append(errs, d.set.Stop(drain))
		cancel()
	}
	if d.unwatch != nil {
		d.unwatch()
		d.watching.Wait()
	}
	hard, cancel := context.WithTimeoutCause(base, d.cfg.Shutdown.HardTimeout, errors.New("shutdown ran out of time"))
	defer cancel()
	errs = append(errs, d.background.stop(hard))
	if d.service != nil {
		errs = append(errs, d.service.Stop(hard))
	}
	if d.nc != nil {
		d.nc.Close()
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	errs = append(errs, d.admin.Stop(hard))
	return errors.Join(errs...)
}

// logOf is the log as partitions see it: read by ingest, trimmed by stream.
type logOf struct {
	*ingest.Reader
	stream *stream.Stream
}

func (l logOf) Trim(ctx context.Context, p int, pos wire.Place, before time.Time) error {
	return l.stream.Trim(ctx, p, pos, before) //nolint:wrapcheck // this is stream's method under another roof.
}

// watchedLog tells when the log is no longer the one the daemon was started on, or the connection to it was closed for good: no
// partition can go on then, and waiting mends nothing.
type watchedLog struct {
	partition.Log
	recovery *recovery
	fail     func(error)
}

func (l watchedLog) Read(ctx context.Context, p int, after wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error {
	ctx, done, err := l.recovery.begin(ctx, p, after)
	if err != nil {
		return fmt.Errorf("begin to read partition %d: %w", p, err)
	}
	defer done()
	err = l.Log.Read(ctx, p, after, deliver, pending)
	switch {
	case errors.Is(err, ingest.ErrShort):
		l.fail(hinted(err, hintShort))
	case errors.Is(err, ingest.ErrOther), errors.Is(err, nats.ErrConnectionClosed):
		l.fail(err)
	}
	return err //nolint:wrapcheck // the worker says which partition.
}

// batchConfig is how the configuration and the database's limits bound a batch.
func batchConfig(cfg config.Config, limits mysqlstore.Limits) batcher.Config {
	c := batcher.Config{
		MaxRows: cfg.Batch.Rows, MaxBytes: int(cfg.Batch.Bytes), QueueBytes: int64(cfg.Batch.QueueBytes),
		Linger: cfg.Batch.Linger, RetryMin: cfg.Retry.Min, RetryMax: cfg.Retry.Max, AttemptTimeout: cfg.MySQL.CommitTimeout,
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = int(c.QueueBytes / 2)
	}
	// A quarter of a packet: a state full of quotes doubles when it is escaped, and half is left to spare.
	c.MaxBytes = min(c.MaxBytes, int(c.QueueBytes), int(limits.MaxAllowedPacket/4))
	return c.WithDefaults()
}
