// Package relay publishes committed outbox events and marks them as emitted: at least once each, and those of a run in the order in which
// they were committed. It is pure: it knows no NATS and no SQL, and its time can be virtual.
//
//	                    ┌──────────────── wake: something was committed, or interval ◀─┐
//	Start ──▶ claim ────┤ none                                                          │
//	            ▲       └ some ─▶ publish, run by run ─▶ mark what was taken ─┬─ all ───┘ (a full claim goes on at once)
//	            │                                                             │
//	            └──────────────────── pause, growing ◀── one was not taken ───┘
//
// What is claimed is leased: no other relay, and no reader of the outbox, is given it, nor later events of its runs, until it is marked or
// the lease is over. Several replicas may relay at once.
package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
)

// Outbox is the committed events.
type Outbox interface {
	// Claim leases pending events in the order in which they were committed; see [wire.EventsRequest]. It blocks until answered or ctx ends.
	Claim(ctx context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error)
	// MarkEmitted marks at most 1000 events as emitted. It is idempotent, and blocks until answered or ctx ends.
	MarkEmitted(ctx context.Context, ids []string) (int64, error)
}

// Sink takes events.
type Sink interface {
	// Publish returns nil once the event is stored; it may be stored also when it returns an error. It blocks until then or until ctx
	// ends. The same event again within minutes is recognised by its id.
	Publish(ctx context.Context, ev wire.OutboxRecord) error
}

// Relay carries events from the outbox to the sink.
//
//   - At least once: an event is marked only when the sink has it. Whoever dies in between leaves it pending.
//   - In order per run: the events of a run are published one after the other, and not past one that was not taken; nobody else is given
//     later ones meanwhile. No event is published when its lease may be over.
//   - A run that is stuck holds up no other, however much of it is pending: what was not taken several times stays leased under the name
//     that it was claimed in, and the next claims are made in another.
//
// The round, in outline:
//
//	mark what an earlier round published and could not mark
//	claim                                        (crash here: the lease ends, another claims them)
//	publish, runs side by side                   (crash here: published again, under the same ids)
//	mark what was taken                          (crash here: the same)
//	not all of it was, for the third time or more in a row → leave the rest alone until its lease is over
type Relay struct {
	cfg     Config
	outbox  Outbox
	sink    Sink
	log     *zap.Logger
	metrics *metrics
	wake    chan struct{}

	// Owned by run: what is published and not yet marked; how many rounds in a row left something unpublished; and how often claims
	// had to go on in another name.
	unmarked     []string
	stuck, names int
	// left is when the oldest event that was not taken was saved, until when it is leased: nobody claims it before.
	left, until time.Time

	mu      sync.Mutex    // guards what follows
	done    chan struct{} // nil before Start, closed when run has returned
	intake  context.CancelFunc
	cancel  context.CancelCauseFunc
	stopped bool
}

// New prepares a relay. cfg has its defaults set and is checked.
func New(cfg Config, outbox Outbox, sink Sink, reg prometheus.Registerer, log *zap.Logger) (*Relay, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	return &Relay{cfg: cfg, outbox: outbox, sink: sink, log: log, metrics: m, wake: make(chan struct{}, 1)}, nil
}

// Start begins to relay; what is away is waited for.
func (r *Relay) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped || r.done != nil {
		return errors.New("start relay: it lives once")
	}
	r.done = make(chan struct{})
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	intake, stop := context.WithCancel(work)
	r.cancel, r.intake = cancel, stop
	go func() {
		defer close(r.done)
		r.run(intake, work)
	}()
	return nil
}

var errStopped = errors.New("relay was stopped")

// Stop claims no more, finishes the round it is in, and returns; when ctx ends first, the round is cut off: what was not marked is
// published again by whoever claims it next. It is idempotent, and may be called before Start.
func (r *Relay) Stop(ctx context.Context) error {
	r.mu.Lock()
	r.stopped = true
	done, intake, cancel := r.done, r.intake, r.cancel
	r.mu.Unlock()
	if done == nil {
		return nil
	}
	intake()
	select {
	case <-done:
	case <-ctx.Done():
		cancel(errStopped)
		<-done // bounded: everything run waits for ends with its ctx
	}
	cancel(errStopped)
	return nil
}

// Wake says that something was committed. It does not block.
func (r *Relay) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run relays until intake ends; work ends what is under way.
func (r *Relay) run(intake, work context.Context) {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(r.cfg.RetryMin), backoff.WithMaxInterval(r.cfg.RetryMax),
		backoff.WithMultiplier(2), backoff.WithMaxElapsedTime(0))
	for intake.Err() == nil {
		n, err := r.round(work)
		if err != nil {
			if work.Err() != nil {
				return
			}
			r.metrics.failures.Inc()
			pause := pauses.NextBackOff()
			r.log.Warn("outbox events are not relayed, trying again", zap.Duration("pause", pause), zap.Error(err),
				zap.String("hint", "they stay in events_outbox until somebody takes them"))
			select {
			case <-time.After(pause):
			case <-intake.Done():
			}
			continue
		}
		pauses.Reset()
		if n >= r.cfg.Batch {
			continue
		}
		select {
		case <-r.wake:
		case <-time.After(r.cfg.Interval):
		case <-intake.Done():
		}
	}
}

// round claims once, and returns how many events it was given.
func (r *Relay) round(ctx context.Context) (int, error) {
	if err := r.mark(ctx); err != nil {
		return 0, err
	}
	// The database counts the lease from a later moment than this clock does.
	ends := time.Now().Add(r.cfg.Lease)
	events, err := r.claim(ctx)
	if err != nil {
		return 0, err
	}
	r.metrics.oldest.Set(r.age(events))
	if len(events) == 0 {
		return 0, nil
	}
	failed := r.publish(ctx, ends, events)
	r.leave(failed)
	return len(events), errors.Join(failed, r.mark(ctx))
}

func (r *Relay) claim(ctx context.Context) ([]wire.OutboxRecord, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, fmt.Errorf("claim timed out after %s", r.cfg.Timeout))
	defer cancel()
	events, err := r.outbox.Claim(ctx, wire.EventsRequest{Limit: r.cfg.Batch, LeaseMS: r.cfg.Lease.Milliseconds(), Holder: r.holder()})
	if err != nil {
		return nil, fmt.Errorf("claim events: %w", err)
	}
	return events, nil
}

// patience is how many rounds in a row try what is not taken before it is left alone. So a sink that is away for a moment is served at once
// when it is back, and not when the leases end.
const patience = 3

// leave goes on in another name when what was claimed is stuck: in this one, claims would give the same events again, and when those fill a
// claim, no others. They are claimed anew, by whoever is first, once their lease is over.
func (r *Relay) leave(failed error) {
	if failed == nil {
		if r.stuck > 0 && r.stuck < patience { // claimed again in the same name, and taken
			r.until = time.Time{}
		}
		r.stuck = 0
		return
	}
	if r.stuck++; r.stuck >= patience {
		r.names++
	}
}

// holder is the name to claim in.
func (r *Relay) holder() string {
	if r.names == 0 {
		return r.cfg.Holder
	}
	return r.cfg.Holder + "/" + strconv.Itoa(r.names)
}

// age is that of the oldest event that is claimed or was left alone, in seconds; 0 when there is none.
func (r *Relay) age(claimed []wire.OutboxRecord) float64 {
	var age time.Duration
	if len(claimed) > 0 {
		age = time.Since(claimed[0].SavedAt)
	}
	if time.Now().Before(r.until) {
		age = max(age, time.Since(r.left))
	}
	return max(0, age).Seconds()
}

// publish publishes events, of each run in order, and remembers those that the sink took. Its error is of the first run that stuck.
func (r *Relay) publish(ctx context.Context, ends time.Time, events []wire.OutboxRecord) error {
	ctx, cancel := context.WithDeadlineCause(ctx, ends, errors.New("the lease of the events is over"))
	defer cancel()
	var (
		group errgroup.Group
		taken = make([]bool, len(events)) // each run writes its own
		runs  = map[string][]int{}
	)
	for i := range events {
		runs[events[i].RunID] = append(runs[events[i].RunID], i)
	}
	group.SetLimit(r.cfg.Parallel)
	for run, list := range runs {
		group.Go(func() error {
			for _, i := range list {
				if err := r.sink.Publish(ctx, events[i]); err != nil {
					return fmt.Errorf("publish event %.300q of run %.300q: %w", events[i].EventID, run, err)
				}
				taken[i] = true
			}
			return nil
		})
	}
	err := group.Wait()
	for i := range events {
		switch saved := events[i].SavedAt; {
		case taken[i]:
			r.unmarked = append(r.unmarked, events[i].EventID)
		case time.Now().After(r.until) || saved.Before(r.left):
			r.left, r.until = saved, ends
		}
	}
	return err //nolint:wrapcheck // the group's functions say which event.
}

// mark marks what was published.
func (r *Relay) mark(ctx context.Context) error {
	if len(r.unmarked) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, fmt.Errorf("mark timed out after %s", r.cfg.Timeout))
	defer cancel()
	if _, err := r.outbox.MarkEmitted(ctx, r.unmarked); err != nil {
		return fmt.Errorf("mark %d events: %w", len(r.unmarked), err)
	}
	r.metrics.events.Add(float64(len(r.unmarked)))
	r.unmarked = nil
	return nil
}
