package readpath_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// world is a run and a checkpoint of one name, as the whole log makes them: the oracle. It applies one event after the other, as a commit
// does, and knows nothing of tails.
type world struct {
	rows       map[int32]wire.StepRecord
	begun      uint32 // the newest attempt
	latest     uint32 // the newest attempt that saved a step
	checkpoint *wire.CheckpointRecord
}

// transaction is an event of the log, in one message or in parts.
type transaction struct {
	parts []wire.Event
	// loses says that its idempotency key was used before.
	loses bool
	// lost says that its last parts never came.
	lost bool
}

func (l *transaction) last() uint64 { return l.parts[len(l.parts)-1].Message.Sequence }

func (w *world) apply(l *transaction) {
	ev := wire.Join(l.parts)
	if ev.Poison != nil || l.lost {
		return
	}
	seq, operator := ev.Message.Sequence, ev.Attempt == 0 && len(l.parts) == 1
	for _, op := range ev.Ops {
		operator = operator && op.Type == wire.OpDeleteRun
	}
	if ev.Kind != wire.KindCheckpoint {
		if ev.Attempt < w.begun && !operator {
			return
		}
		w.begun = max(w.begun, ev.Attempt)
	}
	if l.loses {
		return
	}
	for _, op := range ev.Ops {
		switch op.Type {
		case wire.OpStep:
			w.rows[op.Step] = wire.StepRecord{Step: op.Step, NodeID: op.NodeID, Attempt: ev.Attempt, State: op.State, Sequence: seq, SavedAt: logged}
			w.latest = ev.Attempt
		case wire.OpDeleteRun:
			w.rows, w.latest = map[int32]wire.StepRecord{}, 0
		case wire.OpCheckpoint:
			if op.ID == run && (w.checkpoint == nil || w.checkpoint.Sequence <= seq) {
				w.checkpoint = &wire.CheckpointRecord{Step: op.Step, State: op.State, Sequence: seq, SavedAt: logged}
			}
		default:
		}
	}
}

func (w *world) row() (top *wire.StepRecord) {
	for _, s := range w.rows {
		if s.Attempt == w.latest && (top == nil || s.Step > top.Step) {
			top = &s
		}
	}
	return top
}

// story is a log, and where MySQL is in it.
type story struct {
	log      []transaction
	position uint64 // of the partition
	trimmed  uint64 // the log no longer has what is at or below
	bound    uint64 // what was heard of the position
	fence    uint32 // the newest attempt that begins under the attempts' subject: the log itself refuses what is older
	states   int
}

// events are the messages of a kind that are still in the log.
func (s *story) events(kind string) (all []wire.Event) {
	for i := range s.log {
		for _, ev := range s.log[i].parts {
			if ev.Kind == kind && ev.Message.Sequence > s.trimmed {
				all = append(all, ev)
			}
		}
	}
	return all
}

// reader reads s; database is MySQL at its position.
func (s *story) reader(kind string, database *world) *readpath.Reader {
	d := &data{row: database.row(), begun: database.begun, checkpoint: database.checkpoint, positions: []uint64{s.position}, log: s.events(kind)}
	r := d.reader(0)
	r.Positions.Advance(position.Commit{Partition: home, To: s.bound})
	return r
}

func newWorld() *world { return &world{rows: map[int32]wire.StepRecord{}} }

// write draws a transaction.
func (s *story) write(t *rapid.T, seq *uint64, kind string, attempt uint32, ops []wire.Op, flaws bool) {
	l := transaction{}
	parts := 1
	if len(ops) > 1 && rapid.IntRange(0, 3).Draw(t, "parts") == 0 {
		parts = rapid.IntRange(2, len(ops)).Draw(t, "how many")
	}
	for i := range parts {
		*seq += uint64(rapid.IntRange(1, 2).Draw(t, "gap"))
		ev := wire.Event{
			Message: wire.Message{Sequence: *seq, Logged: logged}, Kind: kind, RunID: run, Attempt: attempt, Partition: home,
			Ops: ops[i*len(ops)/parts : (i+1)*len(ops)/parts],
		}
		if parts > 1 {
			ev.Part = wire.Part{Transaction: fmt.Sprint("t", len(s.log)), No: i + 1, Of: parts}
		}
		l.parts = append(l.parts, ev)
	}
	if flaws {
		switch rapid.IntRange(0, 9).Draw(t, "flaw") {
		case 0:
			l.parts[rapid.IntRange(0, parts-1).Draw(t, "poison")].Poison = &wire.Poison{}
		case 1, 2:
			if kind == wire.KindCheckpoint {
				break // it has no V2 checkpoints, and so no keys
			}
			ev := &l.parts[rapid.IntRange(0, parts-1).Draw(t, "key")]
			ev.Ops = append(slices.Clone(ev.Ops), keyed())
			l.loses = rapid.Bool().Draw(t, "loses")
		case 3:
			if parts > 1 {
				l.parts, l.lost = l.parts[:rapid.IntRange(1, parts-1).Draw(t, "lost")], true
			}
		}
	}
	s.log = append(s.log, l)
}

// op draws an op of the run.
func (s *story) op(t *rapid.T) wire.Op {
	s.states++
	state := fmt.Sprint(s.states)
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0:
		return deletion()
	case 1:
		return wire.Op{Type: wire.OpOutbox, ID: state, State: []byte("{}")}
	case 2:
		return wire.Op{Type: wire.OpCheckpointV2, State: []byte("{}"), V2: &wire.V2{}}
	default:
		return op(rapid.Int32Range(-2, 6).Draw(t, "step"), state)
	}
}

// tellRun draws the log of a run, and a position in it.
func tellRun(t *rapid.T) *story {
	s := &story{}
	var seq uint64
	newest := uint32(0) // that may have begun
	withAttempts := rapid.Bool().Draw(t, "with attempts")
	for range rapid.IntRange(0, 12).Draw(t, "events") {
		kind := rapid.IntRange(0, 9).Draw(t, "kind")
		switch {
		case kind == 0:
			s.write(t, &seq, wire.KindRun, 0, []wire.Op{deletion()}, true) // an operator's
		case kind == 1 && withAttempts:
			newest++
			s.fence = newest
			s.write(t, &seq, wire.KindAttempt, newest, []wire.Op{{Type: wire.OpAttempt}}, false)
		default:
			attempt := uint32(0)
			if withAttempts {
				attempt = rapid.Uint32Range(s.fence, newest+1).Draw(t, "attempt")
				newest = max(newest, attempt)
			}
			ops := []wire.Op{s.op(t)}
			for range rapid.IntRange(0, 3).Draw(t, "more ops") {
				ops = append(ops, s.op(t))
			}
			s.write(t, &seq, wire.KindRun, attempt, ops, true)
		}
	}
	s.place(t)
	return s
}

// place draws where MySQL is, and what is known of that.
func (s *story) place(t *rapid.T) {
	ends := []uint64{0}
	for i := range s.log {
		ends = append(ends, s.log[i].last())
	}
	s.position = rapid.SampledFrom(ends).Draw(t, "position")
	s.bound = rapid.SampledFrom(ends).Draw(t, "bound")
	if rapid.Bool().Draw(t, "bound is one") {
		s.bound = min(s.bound, s.position)
	}
	s.trimmed = rapid.Uint64Range(0, s.position).Draw(t, "trimmed")
}

// database is MySQL at the position.
func (s *story) database() *world {
	w := newWorld()
	for i := range s.log {
		if s.log[i].last() <= s.position {
			w.apply(&s.log[i])
		}
	}
	return w
}
