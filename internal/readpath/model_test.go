package readpath_test

import (
	"context"
	"fmt"
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

// data is Rows, Tail and Letters in memory. It writes down how it is asked.
type data struct {
	row       *wire.StepRecord
	positions []uint64 // one for each time the database is asked; the last one stays
	log       []wire.Event
	letters   map[uint64]wire.Poison

	rowErr, tailErr, positionErr, letterErr error

	mu    *sync.Mutex // guards calls and asked against those who wait side by side
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
	d.call("row of %s in %d", runID, partition)
	return d.row, 0, d.position(), d.rowErr
}

func (d *data) Position(_ context.Context, partition int) (uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("position of %d", partition)
	d.asked = append(d.asked, time.Since(epoch))
	return d.position(), d.positionErr
}

func (d *data) Checkpoint(_ context.Context, partition int, id string) (*wire.CheckpointRecord, uint64, error) {
	d.call("checkpoint %s in %d", id, partition)
	return nil, d.position(), d.rowErr
}

func (d *data) Last(_ context.Context, partition int, namespace, kind, id string) (last uint64, err error) {
	d.call("last of %s.%s.%s in %d", namespace, kind, id, partition)
	for _, ev := range d.log {
		last = max(last, ev.Message.Sequence)
	}
	return last, d.tailErr
}

func (d *data) Tail(_ context.Context, partition int, namespace, kind, id string, after uint64, visit func(*wire.Event)) error {
	d.call("tail of %s.%s.%s in %d after %d", namespace, kind, id, partition, after)
	for _, ev := range d.log {
		if ev.Message.Sequence > after {
			visit(&ev)
		}
	}
	return d.tailErr
}

func (d *data) DeadLetter(_ context.Context, partition int, seq uint64) (wire.Poison, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.call("letter %d of %d", seq, partition)
	why, found := d.letters[seq]
	return why, found, d.letterErr
}

// reader reads d; the position was last heard to be bound.
func (d *data) reader(bound uint64) *readpath.Reader {
	tracker := position.NewTracker(partitions)
	tracker.Advance(position.Commit{Partition: home, To: bound})
	d.mu = new(sync.Mutex)
	if d.positions == nil {
		d.positions = []uint64{0}
	}
	return &readpath.Reader{Rows: d, Tail: d, Letters: d, Positions: tracker, Partitions: partitions, Namespace: "default"}
}

// op is a step's write, named by its state.
func op(step int32, state string) wire.Op {
	return wire.Op{Type: wire.OpStep, Step: step, NodeID: "node of " + state, State: []byte(state)}
}

func event(seq uint64, ops ...wire.Op) wire.Event {
	return wire.Event{Message: wire.Message{Sequence: seq, Logged: logged}, RunID: run, Ops: ops}
}

func poisoned(seq uint64) wire.Event {
	// What a later version may understand of it is there, and counts for nothing.
	ev := event(seq, op(1000, "poison"))
	ev.Poison = &wire.Poison{Code: wire.CodeOp, Reason: "op is unknown"}
	return ev
}

func saved(step int32, seq uint64) *wire.StepRecord {
	return &wire.StepRecord{Step: step, NodeID: "node of row", State: []byte("row"), Sequence: seq, SavedAt: logged}
}
