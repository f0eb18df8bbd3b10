package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/demo"
	"github.com/persistd/persistd/pkg/client"
)

// fleet is the workers and what they share.
type fleet struct {
	// urls are where the workers reach NATS, each worker at the one of its number modulo theirs.
	urls   []string
	runs   demo.Runs
	seed   uint64
	ledger *Ledger
	board  *board
	think  time.Duration

	deaths, resumes, flushes, bytes atomic.Int64
	kinds                           [opKinds]atomic.Int64

	mu     sync.Mutex // guards failed
	failed []error    // calls that ended as none may
}

func (f *fleet) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = append(f.failed, err)
}

func (f *fleet) failures() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.failed[:min(len(f.failed), maxExamples)]...)
}

// worker writes one run after the other. Now and then it dies, and another takes its run over.
type worker struct {
	*fleet
	no   int
	draw *rand.Rand
	st   client.Store[json.RawMessage]

	run     *run
	life    int
	steps   []step
	next    int     // the step that comes next
	attempt int     // the first step that was saved in this attempt, -1 for none
	queued  []*Unit // whose call returned before the log had them
	cpNo    int
}

// step is one of a run, as an agent's worker would save it.
type step struct {
	node  string
	state json.RawMessage
}

// callLimit bounds a call of a patient worker: longer than anything that fails takes to come back.
const callLimit = 60 * time.Second

// work writes runs until ctx ends, and sees the last call to its end.
func (f *fleet) work(ctx context.Context, no int) error {
	w := &worker{fleet: f, no: no, draw: rand.New(rand.NewPCG(f.seed, uint64(no)))}
	if err := w.open(ctx); err != nil || w.st == nil {
		return err
	}
	for n := 0; ctx.Err() == nil; n++ {
		w.begin(fmt.Sprintf("agent/%02d/%d", no, n))
		for ctx.Err() == nil && w.next < len(w.steps) {
			if err := w.once(ctx); err != nil {
				return err
			}
			pause(ctx, time.Duration(w.draw.Int64N(int64(f.think)+1)))
		}
		w.flush()
	}
	w.flush()
	_ = w.st.Close() // what it did not get rid of, flush has told
	return nil
}

func (w *worker) open(ctx context.Context) (err error) {
	w.st, err = openPatiently(ctx, w.urls[w.no%len(w.urls)], client.WithCloseTimeout(0))
	return err
}

// begin begins a run.
func (w *worker) begin(id string) {
	w.run, w.life, w.next, w.attempt, w.cpNo = &run{id: id}, 0, 0, -1, 0
	w.steps = w.steps[:0]
	for _, s := range w.runs(w.draw) {
		w.steps = append(w.steps, step{s.NodeID, s.State})
	}
	w.board.add(w.run)
	if w.draw.IntN(2) == 0 {
		w.beginAttempt()
	}
}

// beginAttempt begins an attempt, however long it takes; it may not be refused.
func (w *worker) beginAttempt() {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		_, err := w.st.BeginAttempt(ctx, w.run.id)
		cancel()
		switch {
		case err == nil:
			return
		case outcomeOf(err) == Open:
			w.fail(fmt.Errorf("begin attempt of %s: %w", w.run.id, err))
			return
		}
	}
}

// The kinds of calls.
const (
	opSave = iota
	opCommitted
	opAsync
	opBatch
	opLarge
	opTransaction
	opCheckpoint
	opV2
	opAgain
	opLoad
	opDie
	opKinds
)

var opNames = [opKinds]string{
	"logged steps", "committed steps", "async steps", "batches", "batches in parts", "transactions", "named checkpoints", "V2 checkpoints",
	"steps saved again", "loads by the worker", "deaths of workers",
}

// weights are how often each kind of call is made, of 200.
var weights = [opKinds]int{48, 16, 36, 18, 1, 30, 24, 8, 8, 8, 3}

func (w *worker) once(ctx context.Context) error {
	kind, n := 0, w.draw.IntN(200)
	for n >= weights[kind] {
		n -= weights[kind]
		kind++
	}
	w.kinds[kind].Add(1)
	switch kind {
	case opSave, opCommitted, opAsync:
		w.save(kind)
	case opBatch:
		w.batch(min(1+w.draw.IntN(5), len(w.steps)-w.next), nil)
	case opLarge:
		w.batch(min(3, len(w.steps)-w.next), noise(600_000))
	case opTransaction:
		w.transaction()
	case opCheckpoint:
		w.checkpoint()
	case opV2:
		w.checkpointV2()
	case opAgain:
		w.again()
	case opLoad:
		w.flush()
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		defer cancel()
		w.board.latest(ctx, w.st, w.run, 0)
	case opDie:
		return w.die(ctx)
	}
	return nil
}

// pending is a unit that is put together.
type pending struct {
	w      *worker
	no     int
	rows   map[Key]json.RawMessage
	events []string
	first  int // the lowest step, -1 for none
}

func (w *worker) compose() *pending {
	return &pending{w: w, no: w.ledger.Next(w.run.id), rows: map[Key]json.RawMessage{}, first: -1}
}

// state is what the unit saves in a row.
func (p *pending) state(table Table, id string, no int, state json.RawMessage) json.RawMessage {
	raw, err := json.Marshal(saved{Owner: p.w.run.id, Unit: p.no, Part: len(p.rows), State: state})
	if err != nil {
		panic(fmt.Sprintf("assertion: marshal a state: %v", err))
	}
	p.rows[Key{table, id, no}] = raw
	p.w.bytes.Add(int64(len(raw)))
	return raw
}

func (p *pending) step(no int, state json.RawMessage) json.RawMessage {
	if p.first < 0 {
		p.first = no
	}
	return p.state(Steps, p.w.run.id, no, state)
}

func (p *pending) event() client.Event {
	id := fmt.Sprintf("%s#%d#%d", p.w.run.id, p.no, len(p.events))
	p.events = append(p.events, id)
	return client.Event{Msg: "done", Meta: map[string]any{client.MetaEventID: id}}
}

// save saves the next step.
func (w *worker) save(kind int) {
	p := w.compose()
	s := w.steps[w.next]
	raw := p.step(w.next, s.state)
	durability := map[int]client.Durability{opSave: client.Logged, opCommitted: client.Committed, opAsync: client.Async}[kind]
	do := func(ctx context.Context) error {
		return w.st.SaveStep(client.ContextWithDurability(ctx, durability), w.run.id, w.next, s.node, raw)
	}
	if kind == opAsync {
		w.async(p, do)
		return
	}
	if p.call(w.run.id, true, do) != Refused {
		w.next++
	}
}

// async queues a unit, whose outcome the next flush tells.
func (w *worker) async(p *pending, do func(ctx context.Context) error) {
	u := w.ledger.Begin(w.run.id, Unit{Lane: w.run.id, Life: w.life, Fenced: true}, p.rows)
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	if err := do(ctx); err != nil {
		w.ledger.Settle(u, Refused)
		return
	}
	w.queued = append(w.queued, u)
	if w.attempt < 0 {
		w.attempt = w.next
	}
	if w.next++; w.draw.IntN(4) == 0 {
		w.flush()
	}
}

// flush waits for what is queued, until it is told.
func (w *worker) flush() {
	if len(w.queued) == 0 {
		return
	}
	w.flushes.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	err := w.st.Flush(ctx)
	for _, q := range w.queued {
		if err != nil { // of some of them; which is not looked at
			w.ledger.Settle(q, Unknown)
			continue
		}
		w.ledger.Settle(q, Acked)
		w.run.acked.Store(max(w.run.acked.Load(), int64(q.No)))
	}
	w.queued = w.queued[:0]
}
