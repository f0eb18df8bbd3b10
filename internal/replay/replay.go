package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// Outbox is what becomes of an outbox event that is not in the target's outbox.
type Outbox string

// The rules for the outbox.
const (
	// Emitted inserts it as emitted: it was, or will be, by the database that the log is applied to first.
	Emitted Outbox = "emitted"
	// Pending inserts it to be emitted (again): for a target that takes over from a database that is lost, with what was emitted there.
	Pending Outbox = "pending"
	// Skip leaves it out.
	Skip Outbox = "skip"
)

// Rules are for what the rows alone do not tell.
type Rules struct {
	Outbox Outbox
	// KeepUntold leaves out events with idempotency keys of which none is in the target: where keys are removed for their age, it may have
	// been removed, and the event was a duplicate then. Otherwise they are applied.
	KeepUntold bool
}

// Part is the part of a partition that a replay applies: its events after After, up to and with Until. Position is how far it is.
type Part struct {
	Partition              int
	After, Until, Position uint64
}

// Done reports whether all of it is applied.
func (p Part) Done() bool { return p.Position >= p.Until }

// Outcomes count what became of the events of a batch.
type Outcomes struct {
	// Applied events are in the target: written now, or before.
	Applied int
	// Same, Duplicates had an idempotency key that was used, with the same content or another. Deleted are from before their run was
	// deleted. Untold are left out by [Rules].KeepUntold.
	Same, Duplicates, Deleted, Untold int
}

// Target is the database that is written to.
type Target interface {
	// Apply applies b's events and moves the replay's progress in the partition from b.After to b.Last(), in one transaction. It blocks until
	// the outcome is known or ctx ends, and is idempotent: a batch that an earlier call applied without its caller learning of it is
	// found applied, with its outcomes unknown: all zero. A batch that another replay of this name applied is [batcher.Moved]. Every error is
	// a *[batcher.Error].
	Apply(ctx context.Context, b *batcher.Batch) (Outcomes, error)
}

// Log is the log.
type Log interface {
	// Range calls deliver with the events of partition after a sequence, up to and with another, in log order.
	Range(ctx context.Context, partition int, after, until uint64, deliver func(context.Context, wire.Event) error) error
}

// Letters are the dead letters of the log.
type Letters interface {
	// Has reports whether an event is a dead letter.
	Has(ctx context.Context, partition int, seq uint64) (bool, error)
}

// Config says what is applied, and how.
type Config struct {
	// Parts are what is left to apply; required.
	Parts []Part
	// Runs are the only runs whose events are applied; none is all events.
	Runs []string
	// DryRun counts, and applies nothing.
	DryRun bool
	// Rate is how many events are applied a second at most; 0 is as fast as it goes.
	Rate float64
	// Parallel is how many batches are committed at a time; 0 is 2, which leaves a database room for others.
	Parallel int
	// Batch is how batches are made, with its defaults.
	Batch batcher.Config
}

// Deps are what a replay works with.
type Deps struct {
	Log     Log
	Letters Letters
	// Target is nil in a dry run.
	Target  Target
	Metrics *batcher.Metrics
	Logger  *zap.Logger
	// Refused is told of each event that the target refuses, from one goroutine at a time.
	Refused func(*wire.Event)
	// Seen, which may be nil, is told of events as they are read. It is called concurrently.
	Seen func(events int)
}

// Run applies the parts. It waits while log or database are away, until ctx ends; all that is applied by then stays applied and is known to
// be. The counts are of this call.
func Run(ctx context.Context, cfg Config, deps Deps) (Counts, error) {
	parallel := max(1, cmp.Or(cfg.Parallel, 2))
	r := &run{cfg: cfg, deps: deps, tokens: map[string]bool{}, gate: batcher.NewGate(parallel, nil)}
	for _, id := range cfg.Runs {
		r.tokens[wire.Token(id)] = true
	}
	if cfg.Rate > 0 {
		r.pace = rate.NewLimiter(rate.Limit(cfg.Rate), max(1, int(cfg.Rate)))
	}
	r.counts = newCounter()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(cfg.reading(parallel))
	for _, part := range cfg.Parts {
		if !part.Done() {
			group.Go(func() error {
				if err := r.part(gctx, part); err != nil {
					return fmt.Errorf("replay partition %d: %w", part.Partition, err)
				}
				return nil
			})
		}
	}
	err := group.Wait()
	return r.counts.counts(), err
}

// mostReading is how many partitions are read at a time at most, if no more batches are committed at a time. Each holds a queue of events.
const mostReading = 16

// reading is how many partitions are read at a time: all, if they are not too many, for then one consumer may do. Where the rate is bounded they
// would only wait for each other.
func (c *Config) reading(parallel int) int {
	if c.Rate > 0 {
		return parallel
	}
	return max(parallel, mostReading)
}

// run is one replay at work.
type run struct {
	cfg    Config
	deps   Deps
	tokens map[string]bool // of the runs that are wanted; empty is all
	gate   *batcher.Gate
	pace   *rate.Limiter
	counts *counter
	mu     sync.Mutex // guards calls of deps.Refused
}

func (r *run) part(ctx context.Context, part Part) error {
	if r.cfg.DryRun {
		return r.read(ctx, part, func(context.Context, wire.Event) error { return nil })
	}
	b := batcher.New(r.cfg.Batch, batcher.Deps{
		Store: target{r}, DeadLetters: refusals{r}, Gate: r.gate, Metrics: r.deps.Metrics, Log: r.deps.Logger,
	}, batcher.Start{Partition: part.Partition, Position: part.Position})
	life, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	var reading sync.WaitGroup
	reading.Go(func() {
		err := r.read(life, part, b.Add)
		if err != nil {
			cut(err)
		}
		b.Close()
	})
	err := b.Run(life)
	if err == nil {
		err = context.Cause(life)
	}
	cut(err)
	reading.Wait()
	return err
}

// markEvery is after how many events that are passed over the progress moves all the same.
const markEvery = 1000

// read gives the wanted events of a part to add, and in between and at the end events that only move the progress.
func (r *run) read(ctx context.Context, part Part, add func(context.Context, wire.Event) error) error {
	at, passed := part.Position, 0
	mark := func(ctx context.Context, seq uint64) error {
		passed = 0
		if seq <= at {
			return nil
		}
		at = seq
		return add(ctx, wire.Event{Partition: part.Partition, Message: wire.Message{Sequence: seq}})
	}
	err := r.deps.Log.Range(ctx, part.Partition, part.Position, part.Until, func(ctx context.Context, ev wire.Event) error {
		if r.deps.Seen != nil {
			r.deps.Seen(1)
		}
		apply, err := r.wanted(ctx, &ev)
		if err != nil {
			return err
		}
		if !apply {
			if passed++; passed >= markEvery {
				return mark(ctx, ev.Message.Sequence)
			}
			return nil
		}
		if r.pace != nil {
			if err := r.pace.Wait(ctx); err != nil {
				return fmt.Errorf("keep to the rate: %w", err)
			}
		}
		r.counts.event(&ev)
		at, passed = ev.Message.Sequence, 0
		return add(ctx, ev)
	})
	if errors.Is(err, ErrUnfinished) {
		r.counts.add(&r.counts.total.Unfinished, 1)
		err = nil
	}
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	return mark(ctx, part.Until)
}

// ErrUnfinished is what [Log].Range returns when the log ends within a transaction: its beginning is passed over.
var ErrUnfinished = errors.New("the log ends within a transaction")

// wanted reports whether ev is to be applied; what is not is counted.
func (r *run) wanted(ctx context.Context, ev *wire.Event) (bool, error) {
	if len(r.tokens) > 0 && (ev.Kind == wire.KindCheckpoint || !r.tokens[ev.Token()]) {
		r.counts.add(&r.counts.total.PassedOver, 1)
		return false, nil
	}
	letter, err := r.deps.Letters.Has(ctx, ev.Partition, ev.Message.Sequence)
	if err != nil {
		return false, fmt.Errorf("look for the dead letter of event %d: %w", ev.Message.Sequence, err)
	}
	switch {
	case letter:
		r.counts.add(&r.counts.total.Letters, 1)
		return false, nil
	case ev.Poison != nil:
		r.refused(ev)
		return false, nil //nolint:nilerr // the event's trouble, not the replay's.
	}
	return true, nil
}

// refused counts an event that can not be applied here.
func (r *run) refused(ev *wire.Event) {
	r.counts.add(&r.counts.total.Refused, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.deps.Refused != nil {
		r.deps.Refused(ev)
	}
}

// target is the store of a replay's batchers.
type target struct{ r *run }

// Commit implements [batcher.Store].
func (t target) Commit(ctx context.Context, b *batcher.Batch) error {
	out, err := t.r.deps.Target.Apply(ctx, b)
	if err == nil {
		t.r.counts.outcomes(out)
	}
	return err //nolint:wrapcheck // the batcher says what was committed.
}

// refusals takes what the target refuses: there is no letter of it, for this is not the first time that the event comes.
type refusals struct{ r *run }

// Put implements [batcher.DeadLetters].
func (p refusals) Put(_ context.Context, events []*wire.Event) error {
	for _, ev := range events {
		p.r.refused(ev)
	}
	return nil
}
