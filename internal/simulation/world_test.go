package simulation

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// injection is a fault that no call has, or what else is to happen.
type injection int

const (
	messageLost injection = iota
	messageTwice
	messageEarly
	pullOver
	consumerGone
	followerBehind
	publishedAgain
	logFull
	sharedConsumer
	sharedMessage
	injections
)

var injectionNames = [injections]string{
	"message lost", "message twice", "message early", "pull over", "consumer gone", "follower behind", "published again", "log full", "consumer of all partitions",
	"message through it",
}

// counts are what a schedule, or many of them, did.
type counts struct {
	schedules, terms, commits, together, events, rows, acked, crashes, letters, compared, judged, told, other, remade int
}

// world is a schedule being run: the servers, what happened, and what was wrong with it.
type world struct {
	seed   uint64
	plan   plan
	broken mutation
	began  time.Time
	healed atomic.Bool // no faults any more

	takenDown sync.WaitGroup // what dead processes leave running

	dmu  sync.Mutex // guards dice
	dice map[string]*dice

	mu      sync.Mutex // guards what follows; nothing blocks while it is held
	log     *log
	former  []*log // the streams that were deleted
	db      *database
	backups []*database
	letters map[place]wire.Poison
	slots   []*slot
	runs    []*run
	states  int
	acked   map[key]uint64
	reached []uint64 // by partition: the furthest position ever
	reads   []*read
	told    []told
	settled time.Duration // when all was committed
	over    bool

	stragglers int // calls that were done late although nothing is wrong any more

	counts   counts
	surfaced [faults]int
	injected [injections]int
	deeds    [deeds]int
	wrong    []string
}

func newWorld(seed uint64, broken mutation) *world {
	w := &world{
		seed: seed, plan: drawPlan(seed), broken: broken, began: time.Now(), dice: map[string]*dice{}, db: newDatabase(),
		letters: map[place]wire.Poison{}, acked: map[key]uint64{},
	}
	w.log = newLog(w.plan.partitions, w.plan.capacity, 1)
	w.reached = make([]uint64, w.plan.partitions)
	d := newDice(seed, "world")
	w.db.names = d.chance(0.7)
	for i := range 2 + d.n(2) {
		w.runs = append(w.runs, &run{id: fmt.Sprint("run-", d.n(1000)), dirty: i == 0})
	}
	for i := range w.plan.replicas {
		w.slots = append(w.slots, &slot{w: w, no: i, name: string(rune('a' + i)), skew: d.between(-5*lease, 5*lease)})
	}
	return w
}

// diceOf are the dice of that name.
func (w *world) diceOf(name ...any) *dice {
	s := fmt.Sprint(name...)
	w.dmu.Lock()
	defer w.dmu.Unlock()
	d := w.dice[s]
	if d == nil {
		d = newDice(w.seed, s)
		w.dice[s] = d
	}
	return d
}

// violate writes down that an invariant does not hold. Guarded by mu.
func (w *world) violate(format string, args ...any) {
	if len(w.wrong) < 20 {
		w.wrong = append(w.wrong, fmt.Sprintf("at %s: ", time.Since(w.began))+fmt.Sprintf(format, args...))
	}
}

// commit is one transaction of a commit, at the moment at which the database does it. Guarded by mu.
func (w *world) commit(c conn, b *batcher.Batch, part piece) error {
	row := c.row(b.Partition)
	if part.moves {
		if done, err := w.fence(c, b, row); done || err != nil {
			return err
		}
	}
	if err := w.db.apply(part.events, w.db.generations[c.p.made], w.broken == sequencesUnguarded); err != nil {
		return err
	}
	if !part.moves {
		return nil
	}
	w.move(c, b, row)
	return nil
}

// commitAll commits all of the batches, or none. Guarded by mu.
func (w *world) commitAll(c conn, batches []*batcher.Batch) error {
	var events []*wire.Event
	for _, b := range batches {
		done, err := w.fence(c, b, c.row(b.Partition))
		if err == nil && done {
			err = &batcher.Error{Class: batcher.Again, Err: fmt.Errorf("partition is at %d already", b.Last())}
		}
		if err != nil {
			return err
		}
		events = append(events, b.Events...)
	}
	slices.SortFunc(events, func(x, y *wire.Event) int { return cmp.Compare(x.Message.Sequence, y.Message.Sequence) })
	if err := w.db.apply(events, w.db.generations[c.p.made], w.broken == sequencesUnguarded); err != nil {
		return err
	}
	for _, b := range batches {
		w.move(c, b, c.row(b.Partition))
	}
	w.counts.together++
	return nil
}

// move moves the position past b, which is written.
func (w *world) move(c conn, b *batcher.Batch, row *partitionRow) {
	w.moved(c, b, row)
	row.position, row.until, row.writer = b.Last(), time.Now().Add(lease), b.Epoch
	row.logged = b.Events[len(b.Events)-1].Message.Logged.Truncate(time.Microsecond)
	w.reached[b.Partition] = max(w.reached[b.Partition], b.Last())
}

// fence says whether the position may move; done, that it did before.
func (w *world) fence(c conn, b *batcher.Batch, row *partitionRow) (done bool, err error) {
	switch {
	case w.broken == fenceRemoved:
		return false, nil
	case row.owner != c.p.slot.name, row.epoch != b.Epoch && w.broken != epochUnchecked:
		return false, lost(row)
	case row.position == b.Last() && w.broken == retryApplied, w.broken == positionUnchecked:
		return false, nil
	case row.position == b.Last():
		return true, nil
	case row.position != b.After:
		return false, &batcher.Error{Class: batcher.Moved, Err: fmt.Errorf("partition is at %d, not at %d", row.position, b.After)}
	}
	return false, nil
}

// moved checks what a commit that moves a position has to be, whoever let it.
func (w *world) moved(c conn, b *batcher.Batch, row *partitionRow) {
	who := fmt.Sprintf("%s in epoch %d committed partition %d from %d to %d", c.p.life, b.Epoch, b.Partition, b.After, b.Last())
	if row.owner != c.p.slot.name || row.epoch != b.Epoch || row.writer > b.Epoch {
		w.violate("I3: %s, which %s has in epoch %d, and where the last commit was of %d", who, row.owner, row.epoch, row.writer)
	}
	if row.position != b.After {
		w.violate("I2: %s, which was at %d", who, row.position)
	}
	var got, want []uint64
	for _, ev := range b.Events {
		got = append(got, ev.Message.Sequence)
	}
	for _, t := range w.logOf(c.p).between(b.Partition, row.position, b.Last()) {
		want = append(want, t.last)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.violate("I1: %s with the events %d, and the log has %d", who, got, want)
	}
	for _, ev := range b.Events {
		w.counts.rows += len(ev.Ops)
		at := place{w.db.generations[c.p.made], ev.Message.Sequence}
		if _, kept := w.letters[at]; ev.Poison != nil && !kept {
			w.violate("I7: %s past event %d, which is poison (%s), and no dead letter of it is kept", who, ev.Message.Sequence, ev.Poison.Code)
		}
	}
	w.counts.commits++
	w.counts.events += len(b.Events)
}

// logOf is the stream that p was started on.
func (w *world) logOf(p *process) *log {
	for _, old := range w.former {
		if old.made.Equal(p.made) {
			return old
		}
	}
	return w.log
}

// letter keeps a dead letter. Guarded by mu.
func (w *world) letter(c conn, ev *wire.Event) {
	at := place{w.db.generations[c.p.made], ev.Message.Sequence}
	if _, kept := w.letters[at]; !kept {
		w.letters[at] = *ev.Poison
		w.counts.letters++
	}
}
