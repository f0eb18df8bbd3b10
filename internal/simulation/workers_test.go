package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// worker publishes events of its runs, one at a time, and remembers what was acknowledged.
type worker struct {
	w    *world
	d    *dice
	name string
	no   int
	// chains are those that it writes, by run: it numbers the steps that it knows to be logged one after the other.
	chains map[string]*linked
}

// linked is the last step of a chain.
type linked struct {
	chain   wire.Chain
	step    int32
	attempt uint32
}

// link gives a transaction of its run its place in v's chain, and has the chain end until t is logged.
func (v *worker) link(t *transaction) {
	if t.key.kind != wire.KindRun {
		return
	}
	last := v.chains[t.key.id]
	delete(v.chains, t.key.id)
	if len(t.ops) != 1 || t.ops[0].Type != wire.OpStep || t.kind == orphan {
		return
	}
	next := &linked{wire.Chain{ID: t.id, No: 1}, t.ops[0].Step, t.attempt}
	if last != nil && last.attempt == t.attempt && last.step <= next.step {
		next.chain = wire.Chain{ID: last.chain.ID, No: last.chain.No + 1}
	}
	t.bodies[0].Header, t.next = wire.Header{wire.HeaderChain: {next.chain.String()}}, next
}

// run is what the workers know of a run that they share.
type run struct {
	id      string
	step    int32
	attempt uint32
	dirty   bool // the database refuses some of its events: what is read in between may show them
}

func (v *worker) work() {
	for n := range v.w.plan.writes {
		wait(v.w.plan.before(n, v.d))
		t := v.draw()
		if seq, ok := v.publish(t); ok && v.d.chance(0.15) {
			v.committed(t, seq)
		}
	}
}

// draw makes up an event.
func (v *worker) draw() *transaction {
	w := v.w
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.runs[v.d.n(len(w.runs))]
	what := v.d.n(100)
	switch {
	case what < 8:
		id := pick(v.d, []string{"c0", "c1"})
		return w.compose(v, key{wire.KindCheckpoint, id}, 0, []wire.Op{w.checkpoint(id)}, 1)
	case what < 12: // one that runs write as well, from other partitions
		return w.compose(v, key{wire.KindCheckpoint, "shared"}, 0, []wire.Op{w.checkpoint("shared")}, 1)
	case what < 16:
		r.attempt++
	}
	attempt := r.attempt
	if what >= 16 && what < 22 && attempt > 0 {
		attempt -= 1 // a worker that was replaced and does not know it
	}
	ops := []wire.Op{w.step(v.d, r)}
	parts := 1
	switch {
	case what < 40:
		for range 1 + v.d.n(3) {
			ops = append(ops, w.step(v.d, r))
		}
		if v.d.chance(0.4) {
			ops = append(ops, w.checkpoint("shared"))
		}
		if v.d.chance(0.5) {
			parts = 2 + v.d.n(len(ops)-1)
		}
	case what >= 97: // somebody deletes the run, as its worker or as an operator
		return w.compose(v, key{wire.KindRun, r.id}, pick(v.d, []uint32{0, r.attempt}), []wire.Op{{Type: wire.OpDeleteRun}}, 1)
	case what < 45:
		t := w.compose(v, key{wire.KindRun, r.id}, attempt, ops, 1)
		t.kind, t.bodies[0].Body = malformed, []byte("no JSON")
		return t
	case what < 49:
		t := w.compose(v, key{wire.KindRun, r.id}, attempt, append(ops, w.step(v.d, r)), 2)
		t.kind, t.bodies = orphan, t.bodies[:1]
		return t
	case what < 54 && r.dirty:
		ops[0].NodeID = tooLong
		if v.d.chance(0.3) { // it would begin an attempt, which so does not begin
			attempt++
		}
		t := w.compose(v, key{wire.KindRun, r.id}, attempt, ops, 1)
		t.kind = refused
		return t
	}
	return w.compose(v, key{wire.KindRun, r.id}, attempt, ops, parts)
}

func (w *world) state() []byte {
	w.states++
	return fmt.Appendf(nil, `"%d"`, w.states)
}

// step is mostly the next one, and at times an earlier one once more.
func (w *world) step(d *dice, r *run) wire.Op {
	n := r.step
	if d.chance(0.25) {
		n -= int32(d.n(3))
	} else {
		r.step++
	}
	return wire.Op{Type: wire.OpStep, Step: n, NodeID: "node", State: w.state()}
}

func (w *world) checkpoint(id string) wire.Op {
	return wire.Op{Type: wire.OpCheckpoint, ID: id, Step: int32(w.states), State: w.state()}
}

// compose makes the messages of an event.
func (w *world) compose(v *worker, k key, attempt uint32, ops []wire.Op, parts int) *transaction {
	w.states++
	t := &transaction{key: k, attempt: attempt, ops: ops, id: fmt.Sprint(v.name, ".", w.states), partition: wire.Partition(wire.DefaultNamespace, k.id, w.plan.partitions)}
	for i := range parts {
		m := wire.Message{
			Subject: subjects.Log(t.partition, wire.DefaultNamespace, k.kind, k.id),
			Body:    wire.AppendEvent(nil, k.kind, k.id, attempt, nil, ops[i*len(ops)/parts:(i+1)*len(ops)/parts]),
		}
		if parts > 1 {
			m.Header = wire.Header{wire.HeaderPart: {wire.Part{Transaction: t.id, No: i + 1, Of: parts}.String()}}
		}
		t.bodies = append(t.bodies, m)
	}
	return t
}

// publish has t logged, trying again under the same message id for as long as the server is sure to know it. ok is false when that is
// not known to have worked: it may have, or yet do so.
func (v *worker) publish(t *transaction) (seq uint64, ok bool) {
	w := v.w
	v.link(t)
	for try := range 8 {
		ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
		seq, err := call(ctx, w, nil, nats, "publish "+v.name, func() (uint64, error) {
			seq, err := w.log.append(t)
			if err == nil && try > 0 {
				w.injected[publishedAgain]++
			}
			if errors.Is(err, errFull) {
				w.injected[logFull]++
			}
			return seq, err
		})
		cancel()
		if err == nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			t.acked = true
			if t.next != nil {
				v.chains[t.key.id] = t.next
			}
			w.acked[t.key] = max(w.acked[t.key], seq)
			w.counts.acked++
			return seq, true
		}
		wait(v.d.between(20*time.Millisecond, 150*time.Millisecond))
	}
	return 0, false
}

// committed asks some replica whether t is committed, for a while.
func (v *worker) committed(t *transaction, seq uint64) {
	p := v.w.any(v.d)
	if p.made.Before(v.w.made()) {
		return // it does not know yet that its stream is no more
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*lease)
	defer cancel()
	why, err := p.reader.Committed(ctx, wire.DefaultNamespace, readpath.Write{ID: t.key.id, Sequence: seq})
	if err != nil {
		return
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	v.w.told = append(v.w.told, told{t: t, why: why, position: v.w.reached[t.partition]})
}

// made is when the stream was.
func (w *world) made() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.made
}

// told is what a worker was told about a commit.
type told struct {
	t        *transaction
	why      *wire.Poison
	position uint64 // the furthest one that the partition had reached by then
}

// any is a process of some replica, dead or alive.
func (w *world) any(d *dice) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slots[d.n(len(w.slots))].current
}

// read is a question and its answer.
type read struct {
	by              string
	key             key
	asked, answered time.Duration
	acked           uint64 // the last write of the key that was acknowledged to anybody when it was asked
	end             uint64 // of the log when it was answered
	step            int32
	what            string
	place           uint64 // the earliest place in the log that explains it
}

// readSome asks some replica for the latest of some key, again and again.
func (w *world) readSome(name string) {
	d := w.diceOf(name)
	for range w.plan.readsEach {
		wait(d.between(0, w.plan.pause))
		k := key{wire.KindCheckpoint, pick(d, []string{"c0", "c1"})}
		if d.chance(0.8) {
			r := w.runs[d.n(len(w.runs))]
			if r.dirty {
				continue
			}
			k = key{pick(d, []string{wire.KindRun, wire.KindRun, kindSteps}), r.id}
		}
		w.ask(name, w.any(d), k)
	}
}

// ask asks p once.
func (w *world) ask(name string, p *process, k key) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*lease)
	defer cancel()
	w.mu.Lock()
	r := &read{by: fmt.Sprint(name, " at ", p.life), key: k, asked: time.Since(w.began), acked: w.acked[k]}
	if k.kind == kindSteps {
		r.acked = w.acked[key{wire.KindRun, k.id}]
	}
	w.mu.Unlock()
	var err error
	switch k.kind {
	case kindSteps:
		var s wire.StepsReply
		s, err = p.reader.Steps(ctx, wire.DefaultNamespace, wire.StepsRequest{RunID: k.id, Limit: 1000})
		r.what = fmt.Sprint(s.Steps)
	case wire.KindRun:
		var s *wire.StepRecord
		if s, err = p.reader.LoadLatest(ctx, wire.DefaultNamespace, k.id); s != nil {
			r.step, r.what = s.Step, string(s.State)
		}
	default:
		var c *wire.CheckpointRecord
		if c, err = p.reader.LoadCheckpoint(ctx, wire.DefaultNamespace, k.id); c != nil {
			r.step, r.what = c.Step, string(c.State)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		switch {
		case w.healed.Load() && w.settled > 0 && r.asked > w.settled:
			w.violate("I6: %s asked for %v, with nothing wrong any more, and had no answer: %s", r.by, k, err)
		case strings.Contains(err.Error(), "went back") && w.deeds[restore] < 3:
			w.violate("I6: %s asked for %v, and gave up for no reason: %s", r.by, k, err)
		}
		return
	}
	r.answered, r.end = time.Since(w.began), w.log.last
	w.reads = append(w.reads, r)
}
