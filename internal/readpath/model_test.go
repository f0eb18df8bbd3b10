package readpath_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	run        = "run/1"
	partitions = 8
)

var (
	home   = wire.Partition("default", run, partitions) // the run's partition
	epoch  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	logged = time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
)

// data is what a Reader reads, in memory. It writes down how it is asked.
type data struct {
	row        *wire.StepRecord
	begun      uint32
	checkpoint *wire.CheckpointRecord
	positions  []uint64 // one for each time the database is asked; the last one stays
	log        []wire.Event
	attempts   []wire.Event // the log of the run's attempt subject
	letters    map[uint64]wire.Poison
	keys       []readpath.Key
	changes    []readpath.Change

	// before is the database as it is the first time that it is asked for a row: beside the tail, so before the rest.
	before *data

	rowErr, tailErr, positionErr, letterErr, historyErr error

	mu    *sync.Mutex // guards calls, asked, log and changes against those who wait side by side
	calls []string
	asked []time.Duration // when Position was
}

func (d *data) call(format string, args ...any) {
	d.calls = append(d.calls, fmt.Sprintf(format, args...))
}

func (d *data) position() uint64 {
	pos := d.positions[0]
	if len(d.positions) > 1 {
		d.positions = d.positions[1:]
	}
	return pos
}

func (d *data) Latest(_ context.Context, partition int, runID string) (*wire.StepRecord, uint32, uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if early := d.before; early != nil { // the first time
		d.before = nil
		return early.row, early.begun, early.position(), early.rowErr
	}
	d.call("row of %s in %d", runID, partition)
	return d.row, d.begun, d.position(), d.rowErr
}

func (d *data) Position(_ context.Context, partition int) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("position of %d", partition)
	d.asked = append(d.asked, time.Since(epoch))
	return d.position(), d.positionErr
}

func (d *data) Checkpoint(_ context.Context, partition int, id string) (*wire.CheckpointRecord, uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if early := d.before; early != nil {
		d.before = nil
		return early.checkpoint, early.position(), early.rowErr
	}
	d.call("checkpoint %s in %d", id, partition)
	return d.checkpoint, d.position(), d.rowErr
}

func (d *data) Last(_ context.Context, partition int, namespace, kind, id string) (last uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("last of %s.%s.%s in %d", namespace, kind, id, partition)
	for _, ev := range d.log {
		last = max(last, ev.Message.Sequence)
	}
	return last, d.tailErr
}

func (d *data) LastAttempt(_ context.Context, partition int, namespace, runID string) (attempt uint32, seq uint64, err error) {
	d.call("last attempt of %s.%s in %d", namespace, runID, partition)
	if n := len(d.attempts); n > 0 {
		attempt, seq = d.attempts[n-1].Attempt, d.attempts[n-1].Message.Sequence
	}
	return attempt, seq, d.tailErr
}

func (d *data) Tail(_ context.Context, partition int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (last uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("tail of %s.%s.%s in %d after %d", namespace, kind, id, partition, after)
	log := d.log
	if kind == wire.KindAttempt {
		log = d.attempts
	}
	for _, ev := range log {
		if ev.Message.Sequence > after {
			visit(&ev)
		}
		last = ev.Message.Sequence
	}
	return last, d.tailErr
}

func (d *data) DeadLetter(_ context.Context, partition int, seq uint64) (wire.Poison, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("letter %d of %d", seq, partition)
	why, found := d.letters[seq]
	return why, found, d.letterErr
}

func (d *data) Steps(_ context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("steps of %s from %d, %d", q.RunID, q.From, q.Limit)
	return wire.StepsReply{Steps: []wire.StepRecord{*saved(3, 5)}}, d.historyErr
}

func (d *data) Changes(_ context.Context, runID string, from int32, after readpath.Cursor) (news []readpath.Change, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("changes of %s from %d after %s", runID, from, after)
	for _, c := range d.changes {
		if c.At.Sequence > after.Sequence && c.Step.Step >= from {
			news = append(news, c)
		}
	}
	return news, d.historyErr
}

func (d *data) CheckpointV2(_ context.Context, q wire.V2Request) (*wire.V2Record, error) {
	d.call("V2 checkpoint %v", q)
	return &wire.V2Record{StepID: 4}, d.historyErr
}

func (d *data) CheckpointsV2(_ context.Context, q wire.V2ListRequest) (wire.V2ListReply, error) {
	d.call("V2 checkpoints %v", q)
	return wire.V2ListReply{Checkpoints: []wire.V2Record{{StepID: 4}}}, d.historyErr
}

func (d *data) Runs(_ context.Context, q wire.RunsRequest) (wire.RunsReply, error) {
	d.call("runs %s, %d", q.Prefix, q.Limit)
	return wire.RunsReply{Next: "x"}, d.historyErr
}

func (d *data) Attempt(_ context.Context, runID string) (uint32, error) {
	d.call("attempt of %s", runID)
	return d.begun, d.historyErr
}

func (d *data) Keys(_ context.Context, keys []string) (used []readpath.Key, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("keys %v", keys)
	for _, k := range d.keys {
		if slices.Contains(keys, k.Key) {
			used = append(used, k)
		}
	}
	return used, d.historyErr
}

func (d *data) Claim(_ context.Context, q wire.EventsRequest) ([]wire.OutboxRecord, error) {
	d.call("claim %v", q)
	return []wire.OutboxRecord{{EventID: "e"}}, d.historyErr
}

func (d *data) MarkEmitted(_ context.Context, ids []string) (int64, error) {
	d.call("mark %v", ids)
	return int64(len(ids)), d.historyErr
}

// reader reads d; the position was last heard to be bound. Unless there is a database of before, the row is not read beside the tail.
func (d *data) reader(bound uint64) *readpath.Reader {
	tracker := position.NewTracker(partitions)
	tracker.Advance(position.Commit{Partition: home, To: bound})
	d.mu = new(sync.Mutex)
	if d.positions == nil {
		d.positions = []uint64{0}
	}
	r := &readpath.Reader{
		Rows: d, History: d, Outbox: d, Tail: d, Letters: d, Positions: tracker, Partitions: partitions, Namespace: "default",
	}
	if d.before == nil {
		r.FallBehind(home)
	}
	return r
}

// op is a step's write, named by its state.
func op(step int32, state string) wire.Op {
	return wire.Op{Type: wire.OpStep, Step: step, NodeID: "node of " + state, State: []byte(state)}
}

func event(seq uint64, ops ...wire.Op) wire.Event {
	return wire.Event{Message: wire.Message{Sequence: seq, Logged: logged}, RunID: run, Ops: ops}
}

// of makes ev one of an attempt.
func of(attempt uint32, ev wire.Event) wire.Event {
	ev.Attempt = attempt
	return ev
}

// part makes ev a part of the transaction "t".
func part(no, parts int, ev wire.Event) wire.Event {
	ev.Part = wire.Part{Transaction: "t", No: no, Of: parts}
	return ev
}

// keyed is a V2 checkpoint with an idempotency key.
func keyed() wire.Op {
	return wire.Op{Type: wire.OpCheckpointV2, State: []byte("{}"), V2: &wire.V2{Key: "k"}}
}

func deletion() wire.Op { return wire.Op{Type: wire.OpDeleteRun} }

func poisoned(seq uint64) wire.Event {
	// What a later version may understand of it is there, and counts for nothing.
	ev := event(seq, op(1000, "poison"))
	ev.Poison = &wire.Poison{Code: wire.CodeOp, Reason: "op is unknown"}
	return ev
}

func saved(step int32, seq uint64) *wire.StepRecord {
	return &wire.StepRecord{Step: step, NodeID: "node of row", State: []byte("row"), Sequence: seq, SavedAt: logged}
}
