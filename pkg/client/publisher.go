package client

import (
	"container/heap"
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// anyAttempt is the attempt of an answer that is about all of them.
const anyAttempt = -1

// maxErrors is how many errors of async steps are kept for Flush; of further ones only the number.
const maxErrors = 64

// publisher brings messages into the log: those of a run one after the other, in the order of submit, those of different runs side by
// side. Everything that was submitted is settled exactly once: logged, or given up with an error that the caller or Flush gets.
//
// Its goroutine, the pump, sends and keeps the time; answers come on the connection's goroutine. Callers never write to the socket, which
// may block, and so always see their ctx end.
type publisher struct {
	nc     *nats.Conn
	mux    *mux
	cfg    config
	room   room
	wake   chan struct{} // tells the pump that there is something to do
	status chan nats.Status

	// closing is closed when no more is taken, stop to end the pump, and stopped when it has ended.
	closing, stop chan struct{}
	goroutines    sync.WaitGroup

	mu      sync.Mutex // guards the rest
	closed  bool
	runs    map[string][]*publication // by subject: the head is on its way, the others wait
	pending *list.List                // of all that is not over, in the order of submit
	last    uint64                    // order of the last submit
	queue   []*publication            // to be sent
	timers  timers
	errs    []error
	dropped int // errors beyond maxErrors
	handing chan *publication
	trouble error // why the last attempt of any publication came to nothing; nil once one was logged
}

func newPublisher(nc *nats.Conn, m *mux, cfg config) *publisher {
	p := &publisher{
		nc: nc, mux: m, cfg: cfg,
		room:    room{maxCount: cfg.maxCount, maxBytes: cfg.maxBytes},
		wake:    make(chan struct{}, 1),
		status:  nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED, nats.CLOSED),
		closing: make(chan struct{}), stop: make(chan struct{}),
		runs: map[string][]*publication{}, pending: list.New(),
		// As many as can be in flight, so that handing one over never blocks.
		handing: make(chan *publication, handed(cfg)),
	}
	p.goroutines.Go(p.pump)
	if cfg.onError != nil {
		p.goroutines.Go(p.handOver)
	}
	return p
}

func handed(cfg config) int {
	if cfg.onError == nil {
		return 0
	}
	return cfg.maxCount
}

// submit queues pub behind its run's others. It blocks while the client is full, until ctx ends; only when the error is nil will pub
// be sent.
func (p *publisher) submit(ctx context.Context, pub *publication) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := p.room.acquire(ctx, pub.size(), p.closing); err != nil {
		return p.fullFault(err)
	}
	pub.publisher, pub.slot, pub.done = p, -1, make(chan struct{})
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.room.release(pub.size())
		return ErrClosed
	}
	p.last++
	pub.order = p.last
	pub.entry = p.pending.PushBack(pub)
	pub.id = p.mux.add(pub)
	run := append(p.runs[pub.subject()], pub)
	p.runs[pub.subject()] = run
	if len(run) == 1 {
		p.readyLocked(pub)
	}
	p.mu.Unlock()
	return nil
}

func (p *publisher) fullFault(err error) error {
	if errors.Is(err, ErrClosed) {
		return err
	}
	p.mu.Lock()
	trouble := p.trouble
	p.mu.Unlock()
	f := &fault{kind: ErrBackpressure, err: err, hint: "slow down, or raise WithMaxInFlight"}
	if t, ok := errors.AsType[*fault](trouble); ok {
		f.err, f.hint = fmt.Errorf("%w, and publishes do not get through: %w", err, t), t.hint
	}
	return f
}

// wait returns pub's outcome, or, when ctx ends first, withdraws pub if it surely is not logged.
func (p *publisher) wait(ctx context.Context, pub *publication) (pubAck, error) {
	select {
	case <-pub.done:
		return pub.ack, pub.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pub.phase == settled:
		return pub.ack, pub.err
	case pub.maybeLogged():
		// It goes on: the run's next may not be sent before the outcome is known.
		pub.abandoned = true
		return pubAck{}, unknownFault(pub.cause, ctx.Err())
	case pub.cause != nil:
		err := fmt.Errorf("%w: %w", pub.cause, ctx.Err())
		p.settleLocked(pub, err)
		return pubAck{}, err
	case pub.phase == waiting:
		err := fmt.Errorf("wait for the run's earlier steps: %w", ctx.Err())
		p.settleLocked(pub, err)
		return pubAck{}, err
	default:
		err := fmt.Errorf("publish: %w", ctx.Err())
		p.settleLocked(pub, err)
		return pubAck{}, err
	}
}

func unknownFault(cause, err error) *fault {
	f := &fault{kind: ErrOutcomeUnknown, err: err, final: true, hint: "the step may be logged or not: saving it again is safe"}
	if cause != nil {
		f.err = fmt.Errorf("%w: %w", cause, err)
	}
	return f
}

// answered takes the outcome of an attempt. A refusal of an earlier attempt than the present one is none; that it was stored is.
func (p *publisher) answered(pub *publication, attempt int, ack pubAck, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pub.phase == settled:
	case err == nil:
		pub.ack = ack
		p.trouble = nil
		p.settleLocked(pub, nil)
	case pub.phase == outstanding && (attempt == anyAttempt || attempt == pub.attempt), asFault(err).final && attempt == anyAttempt:
		p.refusedLocked(pub, err)
	}
}

// refusedLocked gives pub up, or has it tried again after a pause.
func (p *publisher) refusedLocked(pub *publication, err error) {
	now := time.Now()
	f := asFault(err)
	if pub.phase == outstanding && !f.unsent && pub.unanswered.IsZero() {
		pub.unanswered = pub.sent
	}
	pause := pub.pause()
	pub.cause = err
	if !f.final {
		p.trouble = err
	}
	switch {
	case f.final:
		if !pub.unanswered.IsZero() {
			err = unknownFault(nil, err)
		}
		p.settleLocked(pub, err)
	case pub.abandoned && pub.unanswered.IsZero():
		p.settleLocked(pub, err) // surely not logged, and nobody wants it to be
	case p.tooLate(pub, now.Add(pause)):
		p.settleLocked(pub, p.gaveUp(err))
	default:
		pub.phase = pausing
		p.scheduleLocked(pub, now.Add(pause))
		if pub.attempt == 5 {
			p.cfg.logger.Warn("publish does not get through, trying on", zap.Error(err), zap.String("hint", f.hint), zap.String("run_id", pub.runID))
		}
	}
}

// tooLate reports whether an attempt at the time at may meet a log that holds pub's message and has forgotten its id. The clock that
// measures durations may stand still while the machine sleeps, so the clock on the wall is asked as well.
func (p *publisher) tooLate(pub *publication, at time.Time) bool {
	if pub.unanswered.IsZero() {
		return false
	}
	return max(at.Sub(pub.unanswered), at.Round(0).Sub(pub.unanswered)) > p.cfg.retryLimit
}

func (p *publisher) gaveUp(cause error) *fault {
	return unknownFault(cause, fmt.Errorf("gave up after %s: %w", p.cfg.retryLimit, context.DeadlineExceeded))
}

func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return &fault{kind: ErrUnavailable, err: err}
}

// settleLocked ends pub and has its run go on.
func (p *publisher) settleLocked(pub *publication, err error) {
	p.mux.remove(pub.id)
	p.unscheduleLocked(pub)
	pub.phase, pub.err = settled, err

	run := p.runs[pub.subject()]
	i := slices.Index(run, pub)
	switch {
	case len(run) == 1:
		delete(p.runs, pub.subject())
	case i == 0:
		run[0] = nil
		p.runs[pub.subject()] = run[1:]
		p.readyLocked(run[1])
	default:
		p.runs[pub.subject()] = slices.Delete(run, i, i+1)
	}
	if err == nil || !pub.async {
		p.endLocked(pub)
		return
	}
	err = newError(opSaveStep, pub.runID, pub.step, err)
	pub.err = err
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, err)
	} else {
		p.dropped++
	}
	if p.cfg.onError == nil {
		p.endLocked(pub)
		return
	}
	p.handing <- pub // has room for everything in flight
}

// endLocked is when pub no longer counts as in flight.
func (p *publisher) endLocked(pub *publication) {
	p.pending.Remove(pub.entry)
	p.room.release(pub.size())
	close(pub.done)
}

// handOver calls the error handler, one error at a time.
func (p *publisher) handOver() {
	for pub := range p.handing {
		p.cfg.onError(pub.err)
		p.mu.Lock()
		p.endLocked(pub)
		p.mu.Unlock()
	}
}

func (p *publisher) readyLocked(pub *publication) {
	pub.phase = ready
	p.queue = append(p.queue, pub)
	select {
	case p.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (p *publisher) scheduleLocked(pub *publication, due time.Time) {
	pub.due = due
	if pub.slot >= 0 {
		heap.Fix(&p.timers, pub.slot)
	} else {
		heap.Push(&p.timers, pub)
	}
	if pub.slot == 0 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (p *publisher) unscheduleLocked(pub *publication) {
	if pub.slot >= 0 {
		heap.Remove(&p.timers, pub.slot)
	}
}
