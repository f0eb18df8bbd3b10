package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
)

// Config says how partitions are held and kept short. The zero value of a field means its default, but for ReplayWindow.
type Config struct {
	// Partitions is how many the stream has. It has no default.
	Partitions int
	// Lease is for how long a lease runs: what a partition waits for after its owner died without releasing it. It is renewed
	// three times as often. A replica that is not heard of for as long has no share in the partitions any more. Default 10 s.
	Lease time.Duration
	// ReplayWindow is how long committed events stay in the log. Zero trims them as soon as they are committed.
	ReplayWindow time.Duration
	// TrimEvery is the pause between two trims, and bounds each of them, from 10 s on. Default 1 min.
	TrimEvery time.Duration
	// Jitter is the random part of the pause before leases are looked at, or a partition is tried, again, from 0 (none) to 1.
	// Default 0.5; negative means none.
	Jitter float64
}

// WithDefaults returns c with every zero field that has a default set to it.
func (c Config) WithDefaults() Config {
	if c.Lease == 0 {
		c.Lease = 10 * time.Second
	}
	if c.TrimEvery == 0 {
		c.TrimEvery = time.Minute
	}
	if c.Jitter == 0 {
		c.Jitter = 0.5
	}
	c.Jitter = max(0, c.Jitter)
	return c
}

// Deps are what the set works with.
type Deps struct {
	Leases Leases
	Log    Log
	// Batcher is how the batcher of each term is made.
	Batcher func(batcher.Start) *batcher.Batcher
	// Tell tells the other replicas, whose sets are to be woken, that this one came, went, took or released a partition. It must not
	// block. It is a hint, and may be lost; nil tells nobody.
	Tell func()
	// Metrics may be nil.
	Metrics *Metrics
	Logger  *zap.Logger
}

// The reasons why a term's work is cut short; they travel as cancel causes.
var (
	errStopping = errors.New("replica is stopping")
	errHardStop = errors.New("drain ran out of time")
	errLost     = errors.New("lease was lost")
	errGiving   = errors.New("partition is handed over")
	// errNotDrained ends a handover that would keep its partition, and all that are to follow it: this replica cannot commit what it has read,
	// and another perhaps can.
	errNotDrained = errors.New("partition is handed over without what was read of it, which was not committed within a lease")
)

// Set applies the partitions that this replica owns: its share of them, which is the same for all replicas but for one partition. It keeps I3 only as far as it does not try to write in vain: what really keeps it
// is the fence inside each commit.
//
// Stopping has three phases: intake stops (nothing more is read), what was read is committed and the leases are released, and,
// when the context given to Stop ends, what is still under way is cancelled. Nothing is lost by the last: it is still in the log.
type Set struct {
	cfg     Config
	deps    Deps
	workers []*worker
	metrics *Metrics

	woken  chan struct{} // of one place: to look at once
	joined chan struct{} // closed when the other replicas can see this one

	mu      sync.Mutex // guards what follows; nothing blocks while it is held
	life    *life      // nil before Start
	stopped bool       // Stop was called: nothing starts any more
	sharing Sharing
}

// life is what runs from Start to Stop.
type life struct {
	stop  context.CancelCauseFunc // ends intake
	kill  context.CancelCauseFunc // ends the workers
	ended chan struct{}           // closed when nothing runs any more
}

// New prepares a set; nothing runs until Start.
func New(cfg Config, deps Deps) *Set {
	if deps.Tell == nil {
		deps.Tell = func() {}
	}
	if deps.Metrics == nil {
		deps.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	s := &Set{cfg: cfg.WithDefaults(), deps: deps, metrics: deps.Metrics, woken: make(chan struct{}, 1), joined: make(chan struct{})}
	for p := range cfg.Partitions {
		s.workers = append(s.workers, newWorker(s.cfg, deps, p, s.Wake, s.alone))
	}
	return s
}

// Start begins to acquire, read and apply partitions and returns at once: a database or a log that is away is waited for. ctx only
// carries values: the set runs until Stop. A set lives once: a second Start, or one after Stop, is an error.
func (s *Set) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return errors.New("start partitions: already stopped")
	case s.life != nil:
		return errors.New("start partitions: already started")
	}
	base := context.WithoutCancel(ctx)
	hard, kill := context.WithCancelCause(base)
	intake, stop := context.WithCancelCause(hard)
	s.life = &life{stop: stop, kill: kill, ended: make(chan struct{})}

	var workers, aux sync.WaitGroup
	for _, w := range s.workers {
		workers.Go(func() { w.run(intake, hard) })
	}
	workers.Go(func() { s.steer(intake) })
	gone := make(chan struct{})
	auxCtx, stopAux := context.WithCancelCause(base)
	aux.Go(func() { s.keepUp(auxCtx, intake, gone) })
	aux.Go(func() { s.every(auxCtx, s.cfg.TrimEvery, s.trim) })
	aux.Go(func() { s.every(auxCtx, recountEvery, s.recount) })
	go func(ended chan<- struct{}) { // Stop waits for it
		defer close(ended)
		workers.Wait()
		<-gone               // bounded by lastWord and releaseWait
		stopAux(errStopping) // not before: a drain may outlast the leases, so they are renewed meanwhile
		aux.Wait()
		kill(errStopping)
	}(s.life.ended)
	return nil
}

// Stop stops intake, commits what was read, releases the leases and waits for all of it. When ctx ends before, what is under way is
// cancelled, and Stop returns an error that counts the events that were read and not committed; they are still in the log. It may
// be called before Start, more than once, and concurrently: each call waits, and the first ctx that ends cancels.
func (s *Set) Stop(ctx context.Context) error {
	s.mu.Lock()
	l := s.life
	s.stopped = true
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	l.stop(errStopping)
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
	}
	unfinished := 0
	for _, w := range s.workers {
		unfinished += w.status().Queued
	}
	l.kill(errHardStop)
	<-l.ended
	if unfinished > 0 {
		return fmt.Errorf("drain partitions: %d events were read and not committed, and are still in the log: %w", unfinished, context.Cause(ctx))
	}
	return nil
}

// Urge says that somebody waits for the event of partition with the sequence seq, which is in the log, to be committed. It does not block. A
// partition that this replica does not apply is not its business.
func (s *Set) Urge(partition int, seq uint64) { s.workers[partition].urge(seq) }

// Status is what each partition is doing, by its number.
func (s *Set) Status() []Status {
	out := make([]Status, len(s.workers))
	for i, w := range s.workers {
		out[i] = w.status()
	}
	return out
}

// every calls f again and again, a pause after each, until ctx ends.
func (s *Set) every(ctx context.Context, pause time.Duration, f func(context.Context)) {
	for {
		select {
		case <-time.After(pause):
			f(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// recountEvery is how old the lag of a partition may be whose reading is blocked.
const recountEvery = 5 * time.Second

// recount keeps the lag true while the database is away and nothing is read.
func (s *Set) recount(ctx context.Context) {
	for _, w := range s.workers {
		if err := w.recount(ctx); err != nil && ctx.Err() == nil {
			s.deps.Logger.Debug("pending events were not counted", zap.Error(err))
		}
	}
}

// trim shortens the owned partitions.
func (s *Set) trim(ctx context.Context) {
	before := time.Now().Add(-s.cfg.ReplayWindow)
	for _, w := range s.workers {
		if _, ok := w.term(); !ok {
			continue
		}
		if err := s.trimOne(ctx, w.partition, before); err != nil && ctx.Err() == nil {
			s.deps.Logger.Warn("log was not trimmed", zap.Int("partition", w.partition), zap.Error(err),
				zap.String("hint", "committed events stay in the log until it is; a full log refuses new ones"))
		}
	}
}

// leastTrim is the time that a trim of one partition has at least, however often there is one: it asks the log's leader some tens of times,
// for messages that may be large, and one that is always cut off would leave a full log full.
const leastTrim = 10 * time.Second

// trimOne shortens one partition. One that does not answer must not keep the others from it.
func (s *Set) trimOne(ctx context.Context, partition int, before time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, max(s.cfg.TrimEvery, leastTrim))
	defer cancel()
	// The position is read from the database for each trim: what is remembered may be of a database since restored.
	pos, err := s.deps.Leases.Place(ctx, partition)
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	if pos.Sequence == 0 {
		return nil
	}
	return s.deps.Log.Trim(ctx, partition, pos, before) //nolint:wrapcheck // the log line says what was tried.
}
