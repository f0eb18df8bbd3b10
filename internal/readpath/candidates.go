package readpath

import (
	"slices"

	"github.com/persistd/persistd/internal/wire"
)

// candidates are what of a run's tail can decide which step is the latest. The position and the row's attempt are not known while the
// tail is read, and decide in the end which writes count. So a write is let go only when a later one that counts whenever it does
// makes it invisible: one of the same attempt and the same or a higher step, one of a newer attempt, or the run's deletion.
//
//	I6: what is let go is never the answer, whatever row and position turn out to be.
//	steps have one attempt, rising sequences and falling steps. Steps rise in nearly every run, so it is nearly always one step,
//	however long the tail is.
type candidates struct {
	steps []wire.StepRecord
	// begun is the newest attempt of the events so far: an event of an older one behind them is refused when it is committed.
	begun uint32
	// deleted is the sequence of the last deletion that an event of an attempt, deletedBy, did; cleared that of the last one that
	// counts whatever attempt has begun, as an operator's does. 0 is none.
	deleted, cleared uint64
	deletedBy        uint32
}

// runTail is what is known of a run's tail.
type runTail = transactions[candidates, *candidates]

func (c *candidates) clone() candidates {
	kept := *c
	kept.steps = slices.Clone(c.steps)
	return kept
}

// take sees the next event, or part of one. Of an undecided one it is only known that it begins its attempt.
func (c *candidates) take(ev *wire.Event, undecided bool) {
	// As a whole message, that is: nobody needs parts to delete a run.
	exempt := ev.Attempt == 0 && ev.Part.Transaction == "" && onlyDeletes(ev.Ops)
	if ev.Attempt < c.begun && !exempt {
		return
	}
	c.begun = max(c.begun, ev.Attempt)
	if undecided {
		return
	}
	for i := range ev.Ops {
		switch op := &ev.Ops[i]; op.Type {
		case wire.OpStep:
			c.step(wire.StepRecord{
				Step: op.Step, NodeID: op.NodeID, Attempt: ev.Attempt, State: op.State, Sequence: ev.Message.Sequence, SavedAt: ev.Message.Logged,
			})
		case wire.OpDeleteRun:
			c.steps = nil // a deletion that does not count is of an older attempt than the row's, and then so are they
			if exempt {
				c.cleared = ev.Message.Sequence
			} else {
				c.deleted, c.deletedBy = ev.Message.Sequence, ev.Attempt
			}
		default:
		}
	}
}

// step adds a step, whose attempt is the newest so far.
func (c *candidates) step(s wire.StepRecord) {
	n := len(c.steps)
	for n > 0 && (c.steps[n-1].Attempt < s.Attempt || c.steps[n-1].Step <= s.Step) {
		n--
	}
	c.steps = append(c.steps[:n], s)
}

func (c *candidates) seal(first uint64, m *wire.Message) {
	for i := range c.steps {
		if c.steps[i].Sequence >= first {
			c.steps[i].Sequence, c.steps[i].SavedAt = m.Sequence, m.Logged
		}
	}
}

// latest is the latest step of row and the writes after position, nil for none: of the newest attempt that has a step the highest, and
// of one step the later write, which is the tail's, as row was written at or below position. begun is the run's newest attempt at
// position.
func (c *candidates) latest(row *wire.StepRecord, begun uint32, position uint64) *wire.StepRecord {
	if c.cleared > position || c.deleted > position && c.deletedBy >= begun {
		row = nil
	}
	for i := range c.steps {
		s := &c.steps[i]
		if s.Sequence <= position || s.Attempt < begun {
			continue
		}
		// The first one that counts has the highest step.
		if row == nil || s.Attempt > row.Attempt || s.Attempt == row.Attempt && s.Step >= row.Step {
			return s
		}
		break
	}
	return row
}

// onlyDeletes reports whether ops delete the run and do nothing else.
func onlyDeletes(ops []wire.Op) bool {
	for i := range ops {
		if ops[i].Type != wire.OpDeleteRun {
			return false
		}
	}
	return true
}
