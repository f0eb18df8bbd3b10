package simulation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/ingest"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// All that takes time is about ten times as quick as it is by default.
const (
	lease          = time.Second
	heartbeat      = 200 * time.Millisecond
	requestTimeout = 300 * time.Millisecond
	attemptTimeout = 400 * time.Millisecond
	recheck        = 50 * time.Millisecond
)

var (
	subjects = wire.Subjects{Prefix: "persistd"}
	batching = batcher.Config{
		MaxRows: 4, MaxBytes: 4 << 10, QueueBytes: 8 << 10, RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond, Jitter: -1, AttemptTimeout: attemptTimeout,
		Linger: 10 * time.Millisecond,
	}.WithDefaults()
	counted = batcher.NewMetrics(prometheus.NewRegistry()) // by all, and not looked at
	shared  = partition.NewMetrics(prometheus.NewRegistry())
)

// slot is a replica: one process after the other under one name.
type slot struct {
	w       *world
	no      int
	name    string
	skew    time.Duration // of its clock
	lives   int
	current *process // guarded by world.mu
}

// process is one life of a replica. When it dies, none of its calls does anything any more, but for those that are on their way.
type process struct {
	w       *world
	slot    *slot
	life    string
	made    time.Time // of the log that it was started on
	tracker *position.Tracker
	reader  *readpath.Reader
	set     *partition.Set

	once sync.Once
	died chan struct{} // closed when it dies

	mu        sync.Mutex
	continued chan struct{} // nil while it runs; closed when it does again
	highest   []wire.Place  // by partition: what a broken one remembers
}

// start begins a life.
func (s *slot) start() {
	w := s.w
	s.lives++
	p := &process{
		w: w, slot: s, life: fmt.Sprint(s.name, s.lives), made: w.log.made, died: make(chan struct{}),
		tracker: position.NewTracker(w.plan.partitions), highest: make([]wire.Place, w.plan.partitions),
	}
	c := conn{p}
	w.db.register(p.made, w.plan.partitions)
	if w.broken == sameGeneration {
		w.db.generations[p.made] = 1
	}
	events, err := ingest.NewOn(servedLog{p}, ingest.Config{
		Stream: "PERSISTD", Created: p.made, Subjects: subjects, ReadAheadMessages: 6, Heartbeat: heartbeat, RequestTimeout: requestTimeout,
		MaxWait: 100 * time.Millisecond, Jitter: -1, GoneAfter: lease, Partitions: w.plan.partitions, Sharing: w.plan.sharing,
	}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	p.reader = &readpath.Reader{
		Rows: c, History: history{c}, Tail: stream.Tail{Messages: c, Subjects: subjects, Near: 6}, Letters: c, Positions: p.tracker,
		Partitions: w.plan.partitions, Namespace: wire.DefaultNamespace, Recheck: recheck,
		Urge: func(no int, seq uint64) { p.set.Urge(no, seq) }, // the set is made before anybody reads
	}
	if w.broken == rowsBeforeTail {
		early := &rowsFirst{Rows: c, tail: p.reader.Tail}
		p.reader.Rows, p.reader.Tail = early, early
	}
	deps := batcher.Deps{Store: c, Gate: batcher.NewGate(w.plan.places, c), DeadLetters: c, OnCommit: p.committed, Metrics: counted, Log: zap.NewNop()}
	p.set = partition.New(partition.Config{
		Partitions: w.plan.partitions, Lease: lease, ReplayWindow: w.plan.window, TrimEvery: trimEvery, Jitter: -1,
	}, partition.Deps{
		Leases: c, Log: logOf{events, c}, Tell: p.tell, Metrics: shared, Logger: zap.NewNop(),
		Batcher: func(at batcher.Start) *batcher.Batcher { return batcher.New(batching, deps, at) },
	})
	s.current = p
	_ = p.set.Start(context.Background()) // it is new
}

const trimEvery = 150 * time.Millisecond

// logOf is the log as partitions see it. A process whose log is no more, or not the one it was, ends, as a daemon does.
type logOf struct {
	*ingest.Reader
	conn
}

func (l logOf) Read(ctx context.Context, no int, after wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error {
	err := l.Reader.Read(ctx, no, after, deliver, pending)
	if errors.Is(err, ingest.ErrOther) || errors.Is(err, ingest.ErrShort) {
		l.p.fail(err)
	}
	return err
}

// fail ends the process because of its log.
func (p *process) fail(why error) {
	w := p.w
	w.mu.Lock()
	if w.log.made.Equal(p.made) && !w.log.gone {
		w.violate("%s ends for no reason: %s", p.life, why)
	}
	w.counts.other++
	w.mu.Unlock()
	w.takenDown.Go(func() { w.terminate(p, lease) })
}

// committed passes a commit on, to the readers here and in the other replicas: late, twice or never.
func (p *process) committed(c batcher.Committed) {
	at := position.Commit{Partition: c.Partition, From: c.From, To: c.To}
	for i := range c.Poison {
		if at.Rejected == nil {
			at.Rejected = map[uint64]wire.Poison{}
		}
		at.Rejected[c.Poison[i].Message.Sequence] = *c.Poison[i].Poison
	}
	p.announce(at)
}

func (p *process) announce(at position.Commit) {
	p.tracker.Advance(at)
	p.broadcast("announcements", func(to *process) { to.tracker.Advance(at) })
}

// tell wakes the others, as a change of who owns what does.
func (p *process) tell() { p.broadcast("leases", func(to *process) { to.set.Wake() }) }

// broadcast has the others hear something.
func (p *process) broadcast(what string, hear func(*process)) {
	w := p.w
	if p.dead() != nil {
		return
	}
	d := w.diceOf(p.life, what)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.slots {
		to := s.current
		if to == p {
			continue
		}
		wait, copies := d.between(100*time.Microsecond, 5*time.Millisecond), 1
		if !w.healed.Load() {
			copies = pick(d, []int{0, 1, 1, 1, 1, 1, 1, 2})
			if d.chance(0.2) {
				wait += d.between(0, lease)
			}
		}
		for range copies {
			time.AfterFunc(wait, func() {
				if to.runs() == nil && to.made.Equal(p.made) {
					hear(to)
				}
			})
			wait += d.between(0, lease/2)
		}
	}
}

// runs waits while the process is stopped, as SIGSTOP does it, and says whether it lives.
func (p *process) runs() error {
	for p != nil {
		p.mu.Lock()
		continued := p.continued
		p.mu.Unlock()
		if continued == nil {
			return p.dead()
		}
		select {
		case <-continued:
		case <-p.died:
		}
		if err := p.dead(); err != nil {
			return err
		}
	}
	return nil
}

func (p *process) dead() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.died:
		return errDead
	default:
		return nil
	}
}

// sleep waits for d and says whether it did: not when ctx ended or the process died.
func (p *process) sleep(ctx context.Context, d time.Duration) bool {
	var died chan struct{}
	if p != nil {
		died = p.died
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-died:
	}
	return false
}

func (p *process) title() string {
	if p == nil {
		return "worker"
	}
	return p.life
}
