package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The reasons why a tape ends, besides that its consumer fails.
var (
	errCaughtUp = errors.New("the end of the log was reached")
	errStalled  = errors.New("a partition keeps the others waiting")
	errLeft     = errors.New("a reader left") // its lease was lost, or its own session failed and says why
)

// chunkMessages is how many messages a chunk has at most, and chunkTime how long its first one waits for others.
const (
	chunkMessages = 128
	chunkTime     = 50 * time.Millisecond
)

// tape is what one consumer of the whole stream sends, in the order of the log and without a gap; each of its lanes
// reads all of it. It has no goroutine of its own: of the lanes that are at its end, one takes in what comes next, and the others wait for it.
//
//	chunk ──more──▶ chunk ──more──▶ chunk          a chunk does not change once it is there
//	  ▲               ▲ ▲             ▲            what a lane has passed, it has looked at, message for message
//	 lane 3       lane 0 lane 2      lane 1: at the end, takes the next chunk in
//
// It is bounded: what the slowest lane has not passed stays, and while that is too much, nothing more is taken in. A lane that has to
// wait for that too long ends the tape: a partition that cannot commit must not stop the others.
//
// A tape that is over is still what the log has. A lane may end with it at any place, and its reader goes on from there otherwise.
type tape struct {
	in    intake
	lanes int32
	cfg   Config
	turn  chan struct{} // of one place: who takes it out may use in, last, quiet and full, and puts it back
	last  *chunk
	quiet time.Duration // for how long lanes have waited without a sign of the server
	full  time.Time     // since when a lane waits for room
	room  chan struct{} // of one place: there is perhaps room again

	mu              sync.Mutex // guards what follows; nothing blocks while it is held
	messages, bytes int        // that not all lanes have passed
	open            int32      // lanes that are not closed
	over            chan struct{}
	why             error
	ended           func(*tape) // called once, when it is over
}

// chunk are some messages of a tape.
type chunk struct {
	deliveries []Delivery
	bytes      int
	left       atomic.Int32  // lanes that have not passed it
	more       chan struct{} // closed when next is there
	next       *chunk
}

// newTape is a tape of what c sends, which begins at the least of from, and its lanes, one for each partition.
func newTape(c Consumer, from []uint64, cfg Config, ended func(*tape)) (*tape, []*lane) {
	t := &tape{
		in: intake{c: c, batch: cfg.pullMessages()}, lanes: int32(len(from)), open: int32(len(from)), cfg: cfg, //nolint:gosec // G115: at most 256.
		turn: make(chan struct{}, 1), last: &chunk{more: make(chan struct{})}, room: make(chan struct{}, 1), over: make(chan struct{}), ended: ended,
	}
	t.turn <- struct{}{}
	lanes := make([]*lane, len(from))
	for p := range from {
		lanes[p] = &lane{tape: t, partition: p, at: t.last, from: from[p], prefix: strings.TrimSuffix(cfg.Subjects.LogPartition(p), ">")}
	}
	return t, lanes
}

// end ends the tape: what is on it stays. The first reason counts.
func (t *tape) end(why error) {
	t.mu.Lock()
	first := t.why == nil
	if first {
		t.why = why
		close(t.over)
	}
	t.mu.Unlock()
	if first {
		t.ended(t)
	}
}

// close takes the lane of partition from the tape, which is over then. The last one closes the consumer: nobody takes anything in any more.
func (t *tape) close(partition int) error {
	t.end(fmt.Errorf("partition %d: %w", partition, errLeft))
	t.mu.Lock()
	t.open--
	last := t.open == 0
	t.mu.Unlock()
	if last {
		return t.in.c.Close() //nolint:wrapcheck // joined to the session's error.
	}
	return nil
}

// reason is why the tape is over.
func (t *tape) reason() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return &anewError{t.why}
}

// takeIn adds a chunk to the tape after the chunk at, unless somebody did, or ends it. It waits for room or the consumer, and not for both; who
// calls it has the turn.
func (t *tape) takeIn(ctx context.Context, at *chunk) {
	defer func() { t.turn <- struct{}{} }()
	select {
	case <-t.over:
		return
	case <-ctx.Done():
		return
	default:
	}
	if t.last != at || !t.hasRoom(ctx) {
		return
	}
	next := &chunk{more: make(chan struct{})}
	if err := t.fill(ctx, next); err != nil {
		defer t.end(err)
	}
	if len(next.deliveries) == 0 {
		return
	}
	next.left.Store(t.lanes)
	t.mu.Lock()
	t.messages, t.bytes = t.messages+len(next.deliveries), t.bytes+next.bytes
	t.mu.Unlock()
	t.last.next = next
	close(t.last.more)
	t.last = next
}

// fill takes in messages until c is full, the pull is over or the end of the log is reached: where others are behind a message, they are on their
// way. Taken in one by one, each would wake all lanes. It does not wait for them longer than chunkTime, nor for the first one longer than a lane may
// without a heartbeat to show; c has then what there is. So has it when ctx ends, which is that of one lane only.
func (t *tape) fill(ctx context.Context, c *chunk) error {
	if err := t.in.ask(); err != nil {
		return err
	}
	var first time.Time // when c's first message came
	for t.in.left > 0 && len(c.deliveries) < chunkMessages && c.bytes < t.cfg.pullBytes() {
		d, ok, err := t.in.ready()
		if err == nil && !ok {
			d, ok, err = t.wait(ctx, first)
		}
		if err != nil || !ok {
			return err
		}
		t.quiet = 0
		message, err := t.in.check(&d)
		if err != nil || !message {
			return err
		}
		if c.deliveries == nil {
			c.deliveries, first = make([]Delivery, 0, chunkMessages), time.Now()
		}
		c.deliveries = append(c.deliveries, d)
		if c.bytes += len(d.Message.Body) + d.Message.HeaderSize(); d.Behind == 0 {
			return errCaughtUp
		}
	}
	return nil
}

// wait waits for what comes next to a chunk whose first message came at first; zero: it has none. It fails when all that have waited so far, one after
// the other, saw nothing of the server for longer than any time between heartbeats.
func (t *tape) wait(ctx context.Context, first time.Time) (d Delivery, ok bool, err error) {
	silence, began := t.cfg.silence(), time.Now()
	left := min(t.cfg.Heartbeat/2, silence-t.quiet)
	if !first.IsZero() {
		left = min(left, chunkTime-began.Sub(first))
	}
	if left > 0 {
		d, ok, err = t.in.within(ctx, left)
		t.quiet += time.Since(began)
	}
	if err == nil && !ok && t.quiet >= silence {
		err = silent(silence)
	}
	return d, ok, err
}

// hasRoom says whether there is room, and if not, waits a while for the slowest lane to make some.
func (t *tape) hasRoom(ctx context.Context) bool {
	t.mu.Lock()
	room := t.messages < t.cfg.tapeMessages() && t.bytes < t.cfg.tapeBytes()
	t.mu.Unlock()
	if room {
		t.full = time.Time{}
		return true
	}
	if t.full.IsZero() {
		t.full = time.Now()
	}
	left := t.cfg.Sharing.Stall - time.Since(t.full)
	if left <= 0 {
		t.end(errStalled)
		return false
	}
	timer := time.NewTimer(min(left, t.cfg.Heartbeat/2)) // whoever waits has heartbeats to show
	defer timer.Stop()
	select {
	case <-t.room:
	case <-timer.C:
	case <-t.over:
	case <-ctx.Done():
	}
	return false
}

// pass says that a lane has looked at every message of c. The last one to say so makes room.
func (t *tape) pass(c *chunk) {
	if c.left.Add(-1) > 0 {
		return
	}
	t.mu.Lock()
	t.messages, t.bytes = t.messages-len(c.deliveries), t.bytes-c.bytes
	t.mu.Unlock()
	c.deliveries = nil // lanes that wait for what follows still have c
	select {
	case t.room <- struct{}{}:
	default:
	}
}
