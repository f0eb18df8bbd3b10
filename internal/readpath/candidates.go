package readpath

import "github.com/persistd/persistd/internal/wire"

// candidates are the writes of a tail that can be the latest. The position is not known while the tail is read, and decides in the end
// which writes count; so a write is let go only when a later one of the same or a higher step has come, which is there whenever it is.
// What remains has rising sequences and falling steps. Steps rise in nearly every run, so it is nearly always one, however long the
// tail is.
type candidates []wire.StepRecord

// see takes the next event of the tail.
func (c *candidates) see(ev *wire.Event) {
	if ev.Poison != nil {
		return
	}
	for i := range ev.Ops {
		op := &ev.Ops[i]
		if op.Type != wire.OpStep {
			continue
		}
		list := *c
		for len(list) > 0 && list[len(list)-1].Step <= op.Step {
			list = list[:len(list)-1]
		}
		*c = append(list, wire.StepRecord{Step: op.Step, NodeID: op.NodeID, Attempt: ev.Attempt, State: op.State, Sequence: ev.Message.Sequence, SavedAt: ev.Message.Logged})
	}
}

// latest is the later of row and the writes after position: the highest step, and of one step the later write, which is the tail's,
// as row was written at or below position.
func (c candidates) latest(row *wire.StepRecord, position uint64) *wire.StepRecord {
	for i := range c {
		if c[i].Sequence > position { // the first one has the highest step
			if row == nil || c[i].Step >= row.Step {
				return &c[i]
			}
			break
		}
	}
	return row
}
