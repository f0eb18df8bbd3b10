package partition

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/batcher"
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
	ended     func()        // called when the worker is idle again
	alone     func() bool   // whether there is no other replica
	grants    chan grant    // of one place: to acquire
	pending   atomic.Int64  // events behind the one read last, as far as is known
	last      atomic.Uint64 // the sequence read last in the current term

	mu      sync.Mutex // guards what follows; nothing blocks while it is held
	state   State
	since   time.Time
	err     error
	current *Term
	batcher *batcher.Batcher
	cut     context.CancelCauseFunc // ends the current term
	quit    context.CancelCauseFunc // ends its intake
	doing   activity
	orphan  bool // the current term's partition was another replica's to take
	held    bool // there was a term
}

// grant is word to acquire the partition.
type grant struct{ reclaim, orphan bool }

func newWorker(cfg Config, deps Deps, partition int, ended func(), alone func() bool) *worker {
	return &worker{
		cfg: cfg, deps: deps, partition: partition, ended: ended, alone: alone, grants: make(chan grant, 1),
		state: Waiting, since: time.Now(),
	}
}

// run goes from term to term, each of which it is told to begin, until intake ends and the last term is drained, or hard ends.
func (w *worker) run(intake, hard context.Context) {
	defer w.enter(Stopped, nil)
	acquire, again := w.cfg.pauses(), w.cfg.pauses()
	for {
		var g grant
		select {
		case g = <-w.grants:
		case <-intake.Done():
			return
		}
		term, err := w.acquire(intake, hard, g.reclaim)
		if err != nil {
			w.enter(Waiting, err)
			w.rest(intake, acquire.NextBackOff())
			continue
		}
		acquire.Reset()
		began := time.Now()
		unread, err := w.hold(intake, hard, term, g.orphan)
		if err == nil { // handed over, or at the end
			w.rest(intake, 0)
			continue
		}
		if time.Since(began) >= w.cfg.Lease { // it worked for a while; what ends each term at once is tried ever more rarely
			again.Reset()
		}
		next := again.NextBackOff()
		if unread && !w.alone() {
			next = max(next, w.cfg.Lease) // long enough for another replica, which may be able to read it, to take it
		}
		w.rest(intake, next)
	}
}

// rest keeps the worker from being told to acquire for d.
func (w *worker) rest(ctx context.Context, d time.Duration) {
	w.do(resting)
	if d > 0 {
		pause(ctx, d)
	}
	w.do(idle)
	w.ended()
}

// acquire begins a term. One that is under way when intake ends is waited for: cut off, it may have been granted all the same, and nobody
// would release it before the lease ends. What it brings then is released at once.
func (w *worker) acquire(intake, hard context.Context, reclaim bool) (Term, error) {
	ctx, stop := lingering(intake)
	defer stop()
	defer context.AfterFunc(hard, stop)()
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Lease)
	defer cancel()
	term, err := w.deps.Leases.Acquire(ctx, w.partition, reclaim)
	if err != nil {
		return Term{}, fmt.Errorf("acquire partition %d: %w", w.partition, err)
	}
	return term, nil
}

// lastWord is for how long a request is waited for that was under way when intake ended: longer than a database takes that answers.
const lastWord = time.Second

// lingering is a ctx that ends lastWord after intake does. stop ends it.
func lingering(intake context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(intake))
	unused := context.AfterFunc(intake, func() {
		pause(ctx, lastWord)
		cancel(context.Cause(intake))
	})
	return ctx, func() {
		unused()
		cancel(context.Canceled)
	}
}

// take tells the worker to acquire its partition, if it has nothing else to do.
func (w *worker) take(reclaim, orphan bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doing != idle {
		return false
	}
	w.doing = acquiring
	w.grants <- grant{reclaim, orphan} // an idle worker's is empty
	return true
}

// give ends the intake of the current term, if there is one: what was read is committed, and the partition released.
func (w *worker) give() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doing == applying && w.current != nil {
		w.doing = giving
		w.quit(errGiving)
	}
}

// urge passes the word on to the current term's batcher, if there is one.
func (w *worker) urge(seq uint64) {
	w.mu.Lock()
	b := w.batcher
	w.mu.Unlock()
	if b != nil {
		b.Urge(seq)
	}
}

// burden is how little it would suit to hand the partition over; ok is false when there is nothing to hand over, or its term is over and is
// being released.
func (w *worker) burden() (events int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doing != applying || w.current == nil {
		return 0, false
	}
	if w.orphan {
		return math.MaxInt, true
	}
	return w.batcher.Queued(), true
}

// about is what the worker does, and whether it had a term yet.
func (w *worker) about() (doing activity, held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doing, w.held
}

func (w *worker) do(a activity) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doing = a
}

// excuse is told why the partition is not acquired.
func (w *worker) excuse(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doing == idle && w.state == Waiting {
		w.err = err
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
