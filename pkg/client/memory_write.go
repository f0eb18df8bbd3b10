package client

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// memData is what stores in memory share.
//
// Invariants:
//   - what is in the maps was written by whole writes, one after the other: seq counts them;
//   - a run is there while it has an attempt, a step or a V2 checkpoint;
//   - bytes that came in or go out are copies: no codec and no caller can change what is kept.
type memData struct {
	mu     sync.Mutex // guards all of it; nothing blocks while it is held
	runs   map[string]*memRun
	named  map[string]*wire.CheckpointRecord
	keys   map[string]memKey
	events map[string]*memEvent // those that were emitted, too: their ids are taken
	// pending are the events to be emitted, in the order in which they were committed.
	pending []*memEvent
	seq     uint64
	// written is closed by the next write.
	written chan struct{}
}

type memRun struct {
	attempt uint32 // the newest that has begun
	latest  uint32 // the newest that saved a step
	steps   map[int32]*memStep
	v2      map[int32]*wire.V2Record
}

type memStep struct {
	wire.StepRecord
	updated time.Time
}

type memKey struct {
	runID string
	hash  [32]byte
}

type memEvent struct {
	wire.OutboxRecord
	emitted     bool
	holder      string
	leasedUntil time.Time
}

func newMemData() *memData {
	return &memData{
		runs: map[string]*memRun{}, named: map[string]*wire.CheckpointRecord{}, keys: map[string]memKey{}, events: map[string]*memEvent{},
		written: make(chan struct{}),
	}
}

// run is the run of that id, made if it is not there.
func (d *memData) run(id string) *memRun {
	r := d.runs[id]
	if r == nil {
		r = &memRun{steps: map[int32]*memStep{}, v2: map[int32]*wire.V2Record{}}
		d.runs[id] = r
	}
	return r
}

// apply makes a write, in the order in which persistd decides:
//
//	too large?                         refuse
//	of an older attempt?               refuse; of a newer one: it begins
//	a key used with other content?     refuse
//	a key used with the same content?  done before
//	remember the keys, apply the ops, wake who watches
func (d *memData) apply(w *write) error {
	if err := fits(w.ops); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.kind == wire.KindRun && !anybodys(w) {
		if err := d.attemptLocked(w); err != nil {
			return err
		}
	}
	if used, err := d.usedLocked(w); used || err != nil {
		return err
	}
	for _, key := range w.keys() {
		d.keys[key] = memKey{runID: w.id, hash: w.hash}
	}
	d.seq++
	now := time.Now().UTC().Truncate(time.Microsecond)
	for i := range w.ops {
		d.applyOp(w, &w.ops[i], now)
	}
	if r := d.runs[w.id]; r != nil && r.attempt == 0 && len(r.steps) == 0 && len(r.v2) == 0 {
		delete(d.runs, w.id)
	}
	close(d.written)
	d.written = make(chan struct{})
	return nil
}

// fits refuses a single write that no message of the log would hold.
func fits(ops []wire.Op) error {
	for i := range ops {
		size := len(ops[i].State)
		if v2 := ops[i].V2; v2 != nil {
			size += len(v2.Frontier) + len(v2.RecordedIOs)
		}
		if size > wire.MaxBody {
			return &fault{kind: ErrTooLarge, err: fmt.Errorf("write has %d bytes, more than %d", size, wire.MaxBody), hint: hintMaxBody}
		}
	}
	return nil
}

// anybodys reports whether a write is of no attempt and yet not stale: an operator deletes runs.
func anybodys(w *write) bool {
	return w.attempt == 0 && len(w.ops) == 1 && w.ops[0].Type == wire.OpDeleteRun
}

func (d *memData) attemptLocked(w *write) error {
	r := d.runs[w.id]
	switch {
	case r == nil && w.attempt == 0:
		return nil
	case r == nil:
		r = d.run(w.id)
	case w.attempt < r.attempt:
		return &fault{kind: ErrStaleAttempt, err: fmt.Errorf("the write is of attempt %d, the run's is %d", w.attempt, r.attempt), hint: hintNewer}
	}
	r.attempt = w.attempt
	return nil
}

const hintNewer = "another worker runs it now: stop"

func (d *memData) begin(runID string) (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.runs[runID]; r != nil && r.attempt == math.MaxInt32 {
		return 0, &fault{kind: ErrRejected, err: fmt.Errorf("attempt %d is the last there can be", r.attempt), hint: "use another run id"}
	}
	r := d.run(runID)
	r.attempt++
	return r.attempt, nil
}

// usedLocked reports whether w was made before, by its keys. The error says that they were used for something else.
func (d *memData) usedLocked(w *write) (bool, error) {
	used := false
	for _, key := range w.keys() {
		earlier, ok := d.keys[key]
		if ok && earlier.hash != w.hash {
			return false, &fault{kind: ErrDuplicate, err: fmt.Errorf("key %.300q, by run %.300q", key, earlier.runID)}
		}
		used = used || ok
	}
	return used, nil
}

func (d *memData) applyOp(w *write, op *wire.Op, now time.Time) {
	switch op.Type {
	case wire.OpStep:
		r, savedAt := d.run(w.id), now
		if earlier := r.steps[op.Step]; earlier != nil {
			savedAt = earlier.SavedAt
		}
		r.latest = max(r.latest, w.attempt)
		r.steps[op.Step] = &memStep{
			StepRecord: wire.StepRecord{
				Step: op.Step, NodeID: op.NodeID, Attempt: w.attempt, Sequence: d.seq, SavedAt: savedAt, State: bytes.Clone(op.State),
			},
			updated: now,
		}
	case wire.OpCheckpoint:
		d.named[op.ID] = &wire.CheckpointRecord{Step: op.Step, Sequence: d.seq, SavedAt: now, State: bytes.Clone(op.State)}
	case wire.OpCheckpointV2:
		r, savedAt := d.run(w.id), now
		if earlier := r.v2[op.Step]; earlier != nil {
			savedAt = earlier.SavedAt
		}
		r.v2[op.Step] = &wire.V2Record{
			StepID: op.Step, Label: op.V2.Label, RNGSeed: op.V2.RNGSeed, IdempotencyKey: op.V2.Key, Timestamp: op.V2.Timestamp, Attempt: w.attempt,
			Sequence: d.seq, SavedAt: savedAt, State: bytes.Clone(op.State), Frontier: bytes.Clone(op.V2.Frontier),
			RecordedIOs: bytes.Clone(op.V2.RecordedIOs),
		}
	case wire.OpOutbox:
		if d.events[op.ID] == nil {
			ev := &memEvent{OutboxRecord: wire.OutboxRecord{EventID: op.ID, RunID: w.id, SavedAt: now, Data: bytes.Clone(op.State)}}
			d.events[op.ID], d.pending = ev, append(d.pending, ev)
		}
	case wire.OpDeleteRun:
		d.deleteRun(w.id)
	default:
		panic(fmt.Sprintf("assertion: a write holds a %s", op.Type))
	}
}

// deleteRun deletes all of a run but its attempt, which goes on fencing, and its events that are to be emitted, which were promised.
func (d *memData) deleteRun(id string) {
	if r := d.runs[id]; r != nil {
		r.latest = 0
		clear(r.steps)
		clear(r.v2)
	}
	for key, by := range d.keys {
		if by.runID == id {
			delete(d.keys, key)
		}
	}
	for eventID, ev := range d.events {
		if ev.RunID == id && ev.emitted {
			delete(d.events, eventID)
		}
	}
}

// claimLocked leases pending events in order. An event that somebody else holds holds up those of its run that come after it.
func (d *memData) claimLocked(q wire.EventsRequest) []wire.OutboxRecord {
	var (
		claimed []wire.OutboxRecord
		size    int
		held    = map[string]bool{}
		now     = time.Now()
	)
	for _, ev := range d.pending {
		if len(claimed) == q.Limit || size >= memClaimBytes {
			break
		}
		if held[ev.RunID] = held[ev.RunID] || ev.holder != q.Holder && ev.leasedUntil.After(now); held[ev.RunID] {
			continue
		}
		ev.holder, ev.leasedUntil = q.Holder, now.Add(time.Duration(q.LeaseMS)*time.Millisecond)
		record := ev.OutboxRecord
		record.Data = bytes.Clone(ev.Data)
		claimed, size = append(claimed, record), size+len(ev.Data)
	}
	return claimed
}

// memClaimBytes ends a claim: what a reply of the log's holds with room to spare.
const memClaimBytes = 512 << 10

func (d *memData) markLocked(ids []string) {
	for _, id := range ids {
		if ev := d.events[id]; ev != nil {
			ev.emitted = true
		}
	}
	d.pending = slices.DeleteFunc(d.pending, func(ev *memEvent) bool { return ev.emitted })
}
