package readpath

import "github.com/persistd/persistd/internal/wire"

// transactions shows the events of a tail to a view of them, so that a transaction in parts counts as a whole or not at all (I5). The
// tail has its parts one by one; each is looked at as it comes, so that no more than one message is held, and what it did is undone if
// it turns out not to count.
//
//	A position is at a transaction's end: its parts are all behind it, or none is. A part whose head was trimmed is committed.
//
// It has the sequence of its last part, which its rows will have. It does not count
//   - as long as its end is missing: an atomic batch becomes visible message by message, and is acknowledged after the last one;
//   - when one of its parts is poison, or not beside the one before: then all of it is;
//   - when it has an idempotency key, like an event that has one: whether it applies is known once it is committed, and nobody is told
//     before.
type transactions[V any, P view[V]] struct {
	now V
	// open is the part seen last of a transaction whose end is still to come; before is now without it.
	open          wire.Part
	first         uint64 // the sequence of its first part
	before        V
	poison, keyed bool
}

// view is what is known of a tail.
type view[V any] interface {
	*V
	// take sees an event, or a part of one. undecided says that what it writes may never apply; it begins its attempt even so.
	take(ev *wire.Event, undecided bool)
	// seal says that what has a sequence of first or more is of one transaction, whose last part m is.
	seal(first uint64, m *wire.Message)
	// clone is a copy that further calls of take leave alone.
	clone() V
}

func (t *transactions[V, P]) see(ev *wire.Event) {
	keyed := len(ev.Keys()) > 0
	if ev.Part.Transaction == "" {
		t.undo()
		if ev.Poison == nil {
			P(&t.now).take(ev, keyed)
		}
		return
	}
	if !ev.Part.Follows(t.open) {
		t.undo()
		if ev.Part.No != 1 {
			return
		}
	}
	if ev.Part.No == 1 {
		t.before, t.first, t.poison, t.keyed = P(&t.now).clone(), ev.Message.Sequence, false, false
	}
	t.open, t.poison, t.keyed = ev.Part, t.poison || ev.Poison != nil, t.keyed || keyed
	if !t.poison {
		P(&t.now).take(ev, t.keyed)
	}
	if !ev.Part.Last() {
		return
	}
	switch {
	case t.poison:
		t.undo()
	case t.keyed:
		t.undo()
		P(&t.now).take(ev, true)
	default:
		P(&t.now).seal(t.first, &ev.Message)
	}
	t.open = wire.Part{}
}

// undo forgets the open transaction.
func (t *transactions[V, P]) undo() {
	if t.open.Transaction != "" {
		t.now, t.open = t.before, wire.Part{}
	}
}

// all is what is known once the tail was shown.
func (t *transactions[V, P]) all() P {
	t.undo()
	return &t.now
}
