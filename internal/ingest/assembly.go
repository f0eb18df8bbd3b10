package ingest

import (
	"fmt"

	"github.com/persistd/persistd/internal/wire"
)

// arrival is a message of a partition, decoded, or a whole transaction of them.
type arrival struct {
	ev wire.Event
	// behind is how many of the partition were in the log behind it when the server sent it.
	behind uint64
}

// assembly makes events of a partition's messages, which it is given in log order. Most messages are one. The parts of a transaction
// become one event when the last has come; until then they are held. It keeps:
//   - I5: a transaction is given out whole, or not at all.
//   - I7: every message is given out, in log order: a part that can be joined to nothing is poison, an event of its own.
//   - What it holds is bounded by [wire.MaxParts], [wire.MaxTransaction] and [wire.MaxOps]: a transaction that turns out larger is
//     poison, part by part.
//
// With the next message:
//
//	it does not continue the parts held → they are poison                       (the log has no more of them, nor ever will)
//	it is no part                       → it is an event
//	it begins or continues              → hold it; too much: all held are poison, and the transaction's further parts as they come;
//	                                      the last: the parts held are one event
//	it is part 2 or later of what did not begin → poison
//
// A transaction whose last parts are not in the log yet is held until something else comes: nobody can know whether they will. Of a
// writer that publishes the parts as one atomic batch, the log has all or none.
type assembly struct {
	held      []arrival
	size, ops int          // of those held
	last      wire.Part    // the part received last, while its transaction goes on
	tooMuch   *wire.Poison // set when that transaction is poison and its parts are no longer held
}

// sequence is that of the part held last, 0 when there is none.
func (a *assembly) sequence() uint64 {
	if len(a.held) == 0 {
		return 0
	}
	return a.held[len(a.held)-1].ev.Message.Sequence
}

// idle reports whether no transaction goes on: a message that is no part is then an event.
func (a *assembly) idle() bool { return a.last.Transaction == "" }

// add takes the partition's next message and returns what is known with it, in log order.
func (a *assembly) add(next arrival) []arrival {
	part := next.ev.Part
	var known []arrival
	if a.last.Transaction != "" && !part.Follows(a.last) {
		known = a.giveUp(&wire.Poison{
			Code: wire.CodePart, Reason: fmt.Sprintf("transaction %q ends in the log after part %d of %d", a.last.Transaction, a.last.No, a.last.Of),
		})
	}
	switch {
	case part.Transaction == "":
		return append(known, next)
	case a.tooMuch != nil:
		known = append(known, orphan(next, a.tooMuch))
	case a.last.Transaction == "" && part.No > 1:
		return append(known, orphan(next, &wire.Poison{
			Code: wire.CodePart, Reason: fmt.Sprintf("part %d of transaction %q stands in the log without part %d before it", part.No, part.Transaction, part.No-1),
		}))
	default:
		a.held = append(a.held, next)
		a.size, a.ops = a.size+next.ev.Size, a.ops+len(next.ev.Ops)
		if a.size > wire.MaxTransaction || a.ops > wire.MaxOps {
			a.tooMuch = a.join().ev.Poison
			known = append(known, a.orphans(a.tooMuch)...)
		} else if part.Last() {
			known = append(known, a.join())
		}
	}
	if a.last = part; part.Last() {
		*a = assembly{}
	}
	return known
}

// join makes one event of the parts held.
func (a *assembly) join() arrival {
	parts := make([]wire.Event, len(a.held))
	for i := range a.held {
		parts[i] = a.held[i].ev
	}
	return arrival{ev: wire.Join(parts), behind: a.held[len(a.held)-1].behind}
}

// giveUp makes poison of the parts held, whose transaction is not continued.
func (a *assembly) giveUp(why *wire.Poison) []arrival {
	known := a.orphans(why)
	*a = assembly{}
	return known
}

// orphans takes the parts held, as poison.
func (a *assembly) orphans(why *wire.Poison) []arrival {
	known := make([]arrival, 0, len(a.held)+1)
	for _, part := range a.held {
		known = append(known, orphan(part, why))
	}
	a.held = nil
	return known
}

// orphan is a part as an event of its own, which is poison. One that was poison anyway keeps its own reason.
func orphan(part arrival, why *wire.Poison) arrival {
	part.ev.Ops = nil
	if part.ev.Poison == nil {
		part.ev.Poison = why
	}
	return part
}
