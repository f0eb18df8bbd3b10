package mysqlstore

import (
	"cmp"
	"context"
	"database/sql"

	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/wire"
)

// applier writes events into the tables, on a connection whose transaction is open and READ COMMITTED; whoever opened it ends it.
//
// It has two ways. Guarded, the events are of a log, and each has its place there: a row changes only to a place that is not before its
// own (I4), and applying an event again changes nothing. Unguarded, the events are of no log: they are newer than what is there, rows that
// they insert have the place 0, 0, and those that they change keep theirs, as with LangGraph-Go's own writes.
type applier struct {
	conn   *sql.Conn
	packet *packetLimit
	// generation is that of the log that the events are from; 0 is no log, and unguarded.
	generation uint32
	// runless says that persistd_runs has no row of the events' runs, so that none is looked for. apply clears it when it makes one.
	runless bool
	// begunByWrite is set when an event that writes more than that has begun a newer attempt than its run had.
	begunByWrite bool
	// naming says that events which the server refuses for good are looked for, and named in the error.
	naming bool
	// again are the rules for events that may have been applied before; nil when these are applied for the first time.
	again *replay.Rules
	// keepUntold leaves out events with idempotency keys of which none is there; see [replay.Rules], which may say so as well.
	keepUntold bool
	// made says that a row of persistd_runs was made.
	made bool
}

// outcome is what became of an event.
type outcome struct {
	result
	// newest is, of a stale event, the run's attempt that has begun.
	newest uint32
}

type result uint8

const (
	// applied events are written. So they were before, when this is not the first time.
	applied result = iota
	// same is an event whose idempotency key an earlier one with the same content used: it is a success and writes nothing.
	same
	// duplicate is an event whose idempotency key was used with other content, or by whom it is not known: it writes nothing.
	duplicate
	// deleted is an event from before its run was deleted, applied again: it writes nothing.
	deleted
	// stale is an event of an older attempt than its run's: it is refused.
	stale
	// untold is an event that comes again, whose keys may have been removed for their age: it writes nothing.
	untold
)

// place is a place in the order of all logs: the zero place is before every other.
type place struct {
	gen uint32
	seq uint64
}

func (p place) before(q place) bool {
	return cmp.Or(cmp.Compare(p.gen, q.gen), cmp.Compare(p.seq, q.seq)) < 0
}

func (a *applier) guarded() bool { return a.generation > 0 }

// place is where ev is, or the zero place when no log orders the events.
func (a *applier) place(ev *wire.Event) place {
	if !a.guarded() {
		return place{}
	}
	return place{a.generation, ev.Message.Sequence}
}

// apply writes events, which are in log order, and returns what became of each. When one is stale nothing is written, whatever the
// outcomes of the others say; the transaction is still to be rolled back, or committed, which changes nothing. After an error it can only
// be rolled back.
//
//	lock the runs' rows, begin attempts           ── an event is of an older attempt: return, nothing is written
//	for each stretch of the events:               ── an event that deletes begins one
//	    claim the idempotency keys                ── used: its event is passed over
//	    delete runs
//	    write steps, checkpoints, outbox
//	write what changed in the runs' rows
//
// So a transaction takes its locks in one order, as far as deletes let it: runs, keys, steps, checkpoints, V2 checkpoints, outbox.
func (a *applier) apply(ctx context.Context, events []*wire.Event) ([]outcome, error) {
	out := make([]outcome, len(events))
	runs, err := a.lockRuns(ctx, events)
	if err != nil {
		return nil, err
	}
	if !a.admit(runs, events, out) {
		return out, nil
	}
	for from := 0; from < len(events); {
		to := from + stretch(events[from:])
		if err := a.applyStretch(ctx, runs, events[from:to], out[from:to]); err != nil {
			return nil, err
		}
		from = to
	}
	return out, a.saveRuns(ctx, runs)
}

// stretch is how many of events can be written together, whatever order their statements give them: up to the next one that deletes; or
// those at the beginning that do nothing else, or the first alone, which deletes and does more.
func stretch(events []*wire.Event) int {
	n := 0
	for n < len(events) && deletesOnly(events[n]) {
		n++
	}
	switch {
	case n > 0:
		return n
	case deletes(events[0]):
		return 1
	}
	for n < len(events) && !deletes(events[n]) {
		n++
	}
	return n
}

func deletes(ev *wire.Event) bool {
	for i := range ev.Ops {
		if ev.Ops[i].Type == wire.OpDeleteRun {
			return true
		}
	}
	return false
}

// deletesOnly reports whether ev does nothing but delete.
func deletesOnly(ev *wire.Event) bool {
	for i := range ev.Ops {
		if ev.Ops[i].Type != wire.OpDeleteRun {
			return false
		}
	}
	return len(ev.Ops) > 0
}

// applyStretch writes the events of one stretch.
func (a *applier) applyStretch(ctx context.Context, runs runStates, events []*wire.Event, out []outcome) error {
	for i, ev := range events {
		if run := runs[ev.RunID]; run != nil && a.guarded() && a.place(ev).before(run.deleted) {
			out[i].result = deleted
		}
	}
	if err := a.claimKeys(ctx, events, out); err != nil {
		return err
	}
	if err := a.deleteRuns(ctx, runs, events, out); err != nil {
		return err
	}
	r := rows{steps: make([]row, 0, len(events))} // most events are one step
	for i, ev := range events {
		if out[i].result == deleted && a.again != nil {
			r.addOutliving(ev)
		}
		if ev.Poison != nil || out[i].result != applied {
			continue
		}
		if run := runs[ev.RunID]; r.add(ev) && run != nil && ev.Attempt > run.latest {
			run.latest, run.changed = ev.Attempt, true
		}
	}
	return a.write(ctx, &r)
}
