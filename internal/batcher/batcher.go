package batcher

import (
	"context"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/persistd/persistd/internal/wire"
)

// Start is where a term of one partition begins.
type Start struct {
	Partition int
	Epoch     uint64
	// Position is the partition's position in MySQL.
	Position uint64
}

// Committed tells that a partition moved.
type Committed struct {
	Partition int
	// From and To are the positions before and after.
	From, To uint64
	// Poison holds the events between them that were not applied, each with a dead letter.
	Poison []*wire.Event
}

// Deps are what batchers share.
type Deps struct {
	Store       Store
	DeadLetters DeadLetters
	// Gate bounds the commits of all partitions that run at the same time, and joins small ones; nil does neither. A batch is gathered when
	// it has its place, so that it holds what came while it waited.
	Gate *Gate
	// Circuit holds back the dead letters when nearly every event is poison; nil never does.
	Circuit *Circuit
	// OnCommit is called after each commit, in order, from the batcher's goroutine; it must not block. May be nil.
	OnCommit func(Committed)
	Metrics  *Metrics
	Log      *zap.Logger
}

// eventOverhead is what an event, or each message of one in parts, costs in memory beside its bytes.
const eventOverhead = 512

// queueEvents bounds the queue in events. QueueBytes is what bounds memory; this only sizes a channel, which need not hold more than fit there.
const queueEvents = 4096

// Batcher commits the events of one term of one partition.
//
// It keeps, with the store's help:
//   - I1: an event leaves its hands committed, kept as a dead letter, or not at all: then it is still in the log.
//   - I2: batches are contiguous: each continues from the position at which the one before ended.
//   - I5: an event is never split between batches.
//   - I7: poison is taken out, by its name or by halving, and kept before the position passes it; an outage is waited for, and so is
//     what makes nearly everything poison (see [Circuit]).
//
// Run, in outline:
//
//	for the next event, until Close and an empty queue:
//	    linger, unless it is urgent
//	    take a place at the gate; gather what else is queued, up to the bounds; or, small, be taken along with others (see [Gate])
//	        committed with them, all or none → the next; not → alone, as follows
//	    too much poison → commit what stands before it, wait, look again
//	    keep dead letters of the gathered poison                     (crash here: read again, kept again: one letter)
//	    commit                                                       (crash here: all or nothing, read again from the position)
//	        again, operator → wait, the same batch again             (the outcome may be unknown: Commit finds out)
//	        never           → two halves; a single event is refused
//	        refused         → the events named are poison: keep their dead letters, commit the rest with them passed over;
//	                          too much poison: wait, the same batch again
//	                                                                 (crash between the two: read again, refused again, one letter each)
//	        lost, moved     → return: the term is over, nothing is remembered
//
// One goroutine calls Add and at the end Close, another calls Run; everything else may be called from any.
type Batcher struct {
	cfg      Config
	deps     Deps
	start    Start
	queue    chan *wire.Event
	room     *semaphore.Weighted
	phase    atomic.Pointer[Phase]
	queued   atomic.Int64         // added and not committed
	waits    load                 // added and not in a batch yet
	stands   atomic.Pointer[turn] // at the gate, in line, until it was found full
	urged    *urgency
	oldest   atomic.Int64 // Logged of the oldest event in Run's hands, Unix nanoseconds; 0 when it has none
	position uint64       // owned by Run
	began    time.Time    // owned by Run: when the last commit began
	carry    *wire.Event  // owned by Run: taken from the queue, did not fit into the last batch
	waiting  prometheus.Gauge
	bytes    prometheus.Gauge
	reached  prometheus.Gauge
}

// New prepares a batcher for the term that begins at start. Config must be valid, and have its defaults.
func New(cfg Config, deps Deps, start Start) *Batcher {
	label := strconv.Itoa(start.Partition)
	b := &Batcher{
		cfg: cfg, deps: deps, start: start, position: start.Position,
		queue:   make(chan *wire.Event, min(queueEvents, cfg.QueueBytes/eventOverhead+1)),
		room:    semaphore.NewWeighted(cfg.QueueBytes),
		urged:   newUrgency(),
		waiting: deps.Metrics.queuedEvents.WithLabelValues(label),
		bytes:   deps.Metrics.queuedBytes.WithLabelValues(label),
		reached: deps.Metrics.position.WithLabelValues(label),
	}
	b.waiting.Set(0)
	b.bytes.Set(0)
	b.reached.Set(float64(start.Position))
	b.enter(Idle, nil)
	return b
}

// Add hands over the next event of the log. It blocks while the queue is full, until ctx ends; an event for which it returns an error
// was not taken, and is still in the log. Its ctx must end when Run returns, and it must not be called after Close.
func (b *Batcher) Add(ctx context.Context, ev wire.Event) error {
	if weight := b.weight(&ev); !b.room.TryAcquire(weight) {
		b.Urge(ev.Message.Sequence) // what fills the queue is not to wait for more
		if err := b.room.Acquire(ctx, weight); err != nil {
			return context.Cause(ctx)
		}
	}
	b.queued.Add(1) // before Run can see it: it is Run that counts down
	b.waits.add(&ev)
	b.waiting.Inc()
	b.bytes.Add(float64(ev.Size))
	if b.full() {
		b.urged.ring()
	}
	seq, urgent := ev.Message.Sequence, ev.Message.Header.Get(wire.HeaderUrgent) != "" // queued, the event is Run's
	select {
	case b.queue <- &ev:
	case <-ctx.Done():
		b.waits.sub(&ev)
		b.release([]*wire.Event{&ev})
		return context.Cause(ctx)
	}
	if urgent {
		b.Urge(seq)
	} else if b.full() { // now that the event is there; before, as the queue may have had to be emptied for it
		b.urged.ring()
	}
	b.deps.Gate.filled(b)
	return nil
}

// Close says that no event will be added any more: Run commits what is queued, at once, and returns nil.
func (b *Batcher) Close() {
	b.Urge(math.MaxUint64)
	close(b.queue)
}

// Queued is how many events were added and are not committed.
func (b *Batcher) Queued() int { return int(b.queued.Load()) }

// Oldest is when the oldest event that was added and is not committed was logged; the zero time when there is none.
func (b *Batcher) Oldest() time.Time {
	if ns := b.oldest.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// weight is what an event takes of the queue's room; one larger than the queue takes all of it. It is the same before and after the
// event became poison.
func (b *Batcher) weight(ev *wire.Event) int64 {
	held := ev.Size
	if ev.Parts == nil {
		held += weigh(&ev.Message)
	}
	for i := range ev.Parts {
		held += weigh(&ev.Parts[i])
	}
	return min(int64(held), b.cfg.QueueBytes)
}

// weigh is what a message takes beside the event's Size. A plain body is held once, as the states are parts of it; a compressed one is
// held beside what it decompressed to. Headers may be as large as 64 KiB.
func weigh(m *wire.Message) int {
	held := eventOverhead + m.HeaderSize()
	if m.Header.Get(wire.HeaderEncoding) != "" {
		held += len(m.Body)
	}
	return held
}

// release gives back what events took.
func (b *Batcher) release(events []*wire.Event) {
	var weight, size int64
	for _, ev := range events {
		weight += b.weight(ev)
		size += int64(ev.Size)
	}
	b.room.Release(weight)
	b.queued.Add(-int64(len(events)))
	b.waiting.Sub(float64(len(events)))
	b.bytes.Sub(float64(size))
}
