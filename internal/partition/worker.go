package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// State is where a partition is in its life on this replica.
type State string

// The states of a partition.
const (
	Waiting  State = "waiting"  // another owner has it, or the database is away
	Applying State = "applying" // this replica reads and commits it
	Stopped  State = "stopped"  // drained and released
)

// Status is what a partition is doing on this replica.
type Status struct {
	Partition int
	State     State
	// Since is when State began.
	Since time.Time
	// Err is why the partition is not applied, when it is not for a good reason.
	Err error
	// The rest is set while State is Applying.

	Epoch uint64
	// Position is where the term began.
	Position uint64
	Phase    batcher.Phase
	// Queued events are read from the log and not committed.
	Queued int
	// Pending events are in the log behind the one read last: as of then or, while reading is blocked, as counted since.
	Pending int64
	// Oldest is when the oldest queued event was logged; zero when none is queued.
	Oldest time.Time
}

// worker drives one partition.
type worker struct {
	cfg       Config
	deps      Deps
	partition int
	pending   atomic.Int64  // events behind the one read last, as far as is known
	last      atomic.Uint64 // the sequence read last in the current term

	mu      sync.Mutex // guards what follows; nothing blocks while it is held
	state   State
	since   time.Time
	err     error
	current *Term
	batcher *batcher.Batcher
	cut     context.CancelCauseFunc // ends the current term
}

func newWorker(cfg Config, deps Deps, partition int) *worker {
	return &worker{cfg: cfg, deps: deps, partition: partition, state: Waiting, since: time.Now()}
}

// run goes from term to term until intake ends and the last term is drained, or hard ends.
func (w *worker) run(intake, hard context.Context) {
	// The first lease found under this instance's name is a dead predecessor's; a later one is another process with our name.
	reclaim := true
	acquire, again := w.pauses(), w.pauses()
	for intake.Err() == nil {
		term, err := w.acquire(intake, reclaim)
		if err != nil {
			w.enter(Waiting, err)
			pause(intake, acquire.NextBackOff())
			continue
		}
		reclaim = false
		acquire.Reset()
		began := time.Now()
		w.deps.Logger.Info("partition acquired", zap.Int("partition", w.partition), zap.Uint64("epoch", term.Epoch), zap.Uint64("position", term.Position))
		err = w.apply(intake, hard, term)
		w.release(hard, term)
		if err != nil {
			w.enter(Waiting, err)
			w.deps.Logger.Warn("partition given up", zap.Int("partition", w.partition), zap.Uint64("epoch", term.Epoch), zap.Error(err))
			if time.Since(began) >= w.cfg.Lease { // it worked for a while; what ends each term at once is tried ever more rarely
				again.Reset()
			}
			pause(intake, again.NextBackOff())
		}
	}
	w.enter(Stopped, nil)
}

// pauses is a sequence of pauses that grow, without an end.
func (w *worker) pauses() backoff.BackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(w.cfg.Lease/100), backoff.WithMaxInterval(w.cfg.Lease/5),
		backoff.WithRandomizationFactor(w.cfg.Jitter), backoff.WithMaxElapsedTime(0))
}

func (w *worker) acquire(ctx context.Context, reclaim bool) (Term, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Lease)
	defer cancel()
	term, err := w.deps.Leases.Acquire(ctx, w.partition, reclaim)
	if err != nil {
		return Term{}, fmt.Errorf("acquire partition %d: %w", w.partition, err)
	}
	return term, nil
}

// apply reads and commits for one term. It returns nil when intake ended and everything read is committed, else why the term is over.
func (w *worker) apply(intake, hard context.Context, term Term) error {
	b := w.deps.Batcher(batcher.Start{Partition: w.partition, Epoch: term.Epoch, Position: term.Position})
	life, cut := context.WithCancelCause(hard)
	defer cut(nil)
	w.begin(term, b, cut)

	// Reading ends with intake, or with the term.
	reading, stopReading := context.WithCancelCause(intake)
	defer stopReading(nil)
	defer context.AfterFunc(life, func() { stopReading(context.Cause(life)) })()

	var reader sync.WaitGroup
	reader.Go(func() {
		err := w.deps.Log.Read(reading, w.partition, term.Place(), func(ctx context.Context, ev wire.Event) error {
			if err := b.Add(ctx, ev); err != nil {
				return err //nolint:wrapcheck // the batcher's own words.
			}
			w.last.Store(ev.Message.Sequence)
			return nil
		}, w.pending.Store)
		if !errors.Is(context.Cause(reading), errStopping) { // not our doing: what was read so far is read again by the next term
			cut(fmt.Errorf("read partition %d: %w", w.partition, err))
		}
		b.Close()
	})
	err := b.Run(life)
	if err == nil { // drained: because intake ended, or because the term was cut while the queue happened to be empty
		err = context.Cause(life)
	}
	cut(err)
	reader.Wait()
	return err
}

// releaseWait bounds a release: a shutdown waits for it after all else was cut, however long a lease is.
const releaseWait = 3 * time.Second

// release ends a term in the database, so that nobody has to wait for the lease to run out.
func (w *worker) release(hard context.Context, term Term) {
	w.end()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), min(w.cfg.Lease/3, releaseWait))
	defer cancel()
	if err := w.deps.Leases.Release(ctx, term); err != nil {
		w.deps.Logger.Warn("lease was not released", zap.Int("partition", w.partition), zap.Error(err),
			zap.String("hint", "the next owner waits until it runs out"))
	}
}

// lose ends a term whose lease is somebody else's.
func (w *worker) lose(t Term) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil && w.current.Epoch == t.Epoch {
		w.cut(errLost)
	}
}

// recount asks how much is pending, when the batcher is busy: then reading may be blocked, and tells nothing.
func (w *worker) recount(ctx context.Context) error {
	w.mu.Lock()
	b := w.batcher
	w.mu.Unlock()
	if b == nil || b.Phase().Name == batcher.Idle {
		return nil
	}
	last := w.last.Load()
	n, err := w.deps.Log.Pending(ctx, w.partition, last)
	if err != nil {
		return err //nolint:wrapcheck // it says what was counted.
	}
	if w.last.Load() == last { // nothing was read meanwhile, which would know better
		w.pending.Store(n)
	}
	return nil
}

func (w *worker) term() (Term, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return Term{}, false
	}
	return *w.current, true
}

func (w *worker) begin(t Term, b *batcher.Batcher, cut context.CancelCauseFunc) {
	w.pending.Store(0)
	w.last.Store(t.Position)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.batcher, w.cut = &t, b, cut
	w.state, w.since, w.err = Applying, time.Now(), nil
}

func (w *worker) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current, w.batcher, w.cut = nil, nil, nil
}

func (w *worker) enter(s State, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state != s {
		w.state, w.since = s, time.Now()
	}
	w.err = err
}

func (w *worker) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{Partition: w.partition, State: w.state, Since: w.since, Err: w.err}
	if w.current != nil {
		s.Epoch, s.Position = w.current.Epoch, w.current.Position
		s.Phase, s.Queued, s.Oldest = w.batcher.Phase(), w.batcher.Queued(), w.batcher.Oldest()
		s.Pending = w.pending.Load()
	}
	return s
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
