package client

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// anyAttempt is the attempt of an answer that is about all of them.
const anyAttempt = -1

// maxErrors is how many errors of async steps are kept for Flush; of further ones only the number.
const maxErrors = 64

// publisher brings publications into the log: those of a run one after the other, in the order of submit, those of different runs side by
// side. Everything that was submitted is settled exactly once: logged, or given up with an error that the caller or Flush gets.
//
// Its goroutine, the pump, sends and keeps the time; answers come on the connection's goroutine; whoever looks for a fence has one of its
// own. Callers never write to the socket, which may block, and so always see their ctx end.
type publisher struct {
	nc     *nats.Conn
	mux    *mux
	cfg    config
	room   room
	wake   chan struct{} // tells the pump that there is something to do
	status chan nats.Status
	// maxPayload is what the server takes, 0 before there was a connection. The connection's own word for it is behind the lock that a
	// write to a stalled socket holds.
	maxPayload atomic.Int64

	// closing is closed when no more is taken, stop to end the pump, and stopped when it has ended.
	closing, stop chan struct{}
	goroutines    sync.WaitGroup

	mu      sync.Mutex                // guards the rest
	closed  bool                      // to callers
	ended   bool                      // to the client's own publications as well
	runs    map[string][]*publication // by subject: the head is on its way, the others wait
	pending *list.List                // of all that is not over, in the order of submit
	last    uint64                    // order of the last submit
	queue   []*publication            // to be sent
	chains  chains
	pace    pace   // whether what is to be sent is sent in groups
	group   *group // what is under way of them, or nil
	awaited int    // how many the last one had, who are waited for until lingers
	lingers time.Time
	refused []*publication // whose fence is to be looked for anew
	timers  timers
	errs    []error
	dropped int // errors beyond maxErrors
	handing chan *publication
	said    error // the last error of a connection that is not the client's own, as the pump saw it last
	trouble error // why the last attempt of any publication came to nothing; nil once one was logged
}

func newPublisher(nc *nats.Conn, m *mux, cfg config) *publisher {
	p := &publisher{
		nc: nc, mux: m, cfg: cfg,
		room:    room{maxCount: cfg.maxCount, maxBytes: cfg.maxBytes},
		wake:    make(chan struct{}, 1),
		status:  nc.StatusChanged(nats.RECONNECTING, nats.CONNECTED, nats.CLOSED),
		closing: make(chan struct{}), stop: make(chan struct{}),
		runs: map[string][]*publication{}, pending: list.New(), pace: newPace(cfg.grouping),
		// As many as can be in flight, so that handing one over never blocks.
		handing: make(chan *publication, handed(cfg)),
	}
	p.maxPayload.Store(nc.MaxPayload())
	p.goroutines.Go(func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		p.pump(ctx)
	})
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
	if !pub.inner {
		if err := p.room.acquire(ctx, pub.size(), p.closing); err != nil {
			return p.fullFault(err)
		}
	}
	pub.publisher, pub.slot, pub.done = p, -1, make(chan struct{})
	p.mu.Lock()
	if p.ended || p.closed && !pub.inner {
		p.mu.Unlock()
		p.release(pub)
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

// release gives back the room that pub took.
func (p *publisher) release(pub *publication) {
	if !pub.inner {
		p.room.release(pub.size())
	}
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
