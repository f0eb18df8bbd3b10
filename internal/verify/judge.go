package verify

import (
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Kind is what a finding says.
type Kind string

// The kinds of findings.
const (
	// Missing is a row that is not there.
	Missing Kind = "missing"
	// Different is a row of the event's own place with other content.
	Different Kind = "different"
	// Stale is a row that an older event wrote than the last one of the log.
	Stale Kind = "stale"
	// Extra is a row that says it was written by an event that does not write it, or did not apply, or was deleted since.
	Extra Kind = "extra"
	// Letter is an event that can never be applied, or was refused, and has no dead letter.
	Letter Kind = "letter"
)

// Finding is a difference between log and database.
type Finding struct {
	Kind  Kind
	Key   Key
	Place Place // of the event, or of the row when no event explains it
	// Partition is the event's.
	Partition int
	// Columns are those that differ, of Different.
	Columns []string
	// Detail says it for people.
	Detail string
}

// world is what was read for some events, at one moment or near it.
type world struct {
	generation uint32
	rows       map[Key]Row
	runs       map[string]RunRow
	numbers    wire.Spelling
	now        time.Time
	// keysKept and eventsKept are how old keys and emitted events become; 0 is for ever.
	keysKept, eventsKept time.Duration
}

// judgement is what became of an event by the database.
type judgement struct {
	// suspects are findings unless a dead letter of the event explains them: but those of Extra, which it does not.
	suspects []Finding
	// explained are rows that the event wrote, and that say so.
	explained []written
	// later are the places of rows that a later event wrote, or something that says so.
	later []Claim
	// What else there is to count.
	duplicate, deleted, untold bool
	compared, superseded       int
	// keyless says that an idempotency key of the event is not there and none of its rows says it was written by it: it may have been a
	// duplicate.
	keyless bool
}

// judge compares one event with the rows.
func (w *world) judge(ev *wire.Event) judgement {
	at := Place{w.generation, ev.Message.Sequence}
	var j judgement
	find := func(kind Kind, k Key, columns []string, format string, args ...any) {
		j.suspects = append(j.suspects, Finding{
			Kind: kind, Key: k, Place: at, Partition: ev.Partition, Columns: columns, Detail: fmt.Sprintf(format, args...),
		})
	}
	if ev.Poison != nil {
		find(Letter, Key{Table: Runs, ID: ev.RunID}, nil, "event can never be applied (%s) and has no dead letter", ev.Poison.Code)
		return j
	}
	run := w.runs[ev.RunID]
	refused := w.refused(ev, run, at)
	switch {
	case refused:
		find(Letter, Key{Table: Runs, ID: ev.RunID}, nil, "event is of attempt %d, attempt %d had begun, and it has no dead letter", ev.Attempt, run.Attempt)
	case ev.RunID != "" && ev.Attempt > run.Attempt:
		find(Missing, Key{Table: Runs, ID: ev.RunID}, nil, "attempt %d of the run has not begun, by the database", ev.Attempt)
	}
	rows := rowsOf(ev, at)
	w.guarded(&j, rows, ev, run, at)
	if lastDelete(ev) >= 0 && run.Deleted.Before(at) && !refused && !j.duplicate && !j.untold && !j.keyless {
		find(Missing, Key{Table: Runs, ID: ev.RunID}, nil, "the run's deletion is not noted")
	}
	j.deleted = at.Before(run.Deleted)
	for i := range rows {
		w.compare(&j, ev, run, &rows[i], refused, find)
	}
	if !refused && !j.duplicate && !j.deleted && run.Latest < ev.Attempt && ev.Attempt <= run.Attempt && j.wrote(Steps) {
		find(Different, Key{Table: Runs, ID: ev.RunID}, []string{"latest_attempt"}, "attempt %d has saved a step, and the run says %d", ev.Attempt, run.Latest)
	}
	j.note(ev, run, at)
	return j
}

// refused reports whether ev certainly was: its run's newest attempt began before it in this log, and it is of an older one.
func (w *world) refused(ev *wire.Event, run RunRow, at Place) bool {
	return ev.RunID != "" && ev.Attempt < run.Attempt && run.Begun.Generation == w.generation && run.Begun.Before(at) &&
		(ev.Attempt > 0 || !deletesOnly(ev))
}

// guarded says what the idempotency keys tell: that ev is a duplicate, or that they do not tell (any more) whether it applied.
func (w *world) guarded(j *judgement, rows []written, ev *wire.Event, run RunRow, at Place) {
	absent, wrote := false, false
	for i := range rows {
		got, ok := w.rows[rows[i].key]
		switch isKey := rows[i].key.Table == Keys; {
		case isKey && (!ok || at.Before(run.Deleted) && at.Before(got.Place)): // not there, or used again after it went with the run
			absent = true
		case isKey && got.Place != at:
			j.duplicate = true
		case ok && got.Place == at:
			wrote = true
		}
	}
	switch {
	case j.duplicate || !absent:
		return
	case at.Before(run.Deleted): // the keys went with the run, whether they were its own or made a duplicate of it
		j.untold = !wrote
		return
	}
	// It was removed for its age; or it is of an older event, whose row was, and this one was a duplicate.
	j.untold = w.keysKept > 0 && (!wrote || w.older(ev, w.keysKept))
	j.keyless = !wrote
}

func (w *world) older(ev *wire.Event, kept time.Duration) bool {
	return kept > 0 && ev.Message.Logged.Before(w.now.Add(-kept))
}

// compare compares one row that ev writes when it applies.
func (w *world) compare(j *judgement, ev *wire.Event, run RunRow, x *written, refused bool,
	find func(kind Kind, k Key, columns []string, format string, args ...any),
) {
	got, there := w.rows[x.key]
	at := x.row.Place
	mine := there && got.Place == at
	gone := j.deleted && x.key.Table != Checkpoints
	switch {
	case mine && refused:
		find(Extra, x.key, nil, "row says it was written by an event that was refused")
	case mine && j.duplicate:
		find(Extra, x.key, nil, "row says it was written by an event whose idempotency key another had used")
	case mine && gone && x.key.Table != Outbox:
		find(Extra, x.key, nil, "row is there although its run was deleted at %d", run.Deleted.Sequence)
	case mine:
		j.compared++
		j.explained = append(j.explained, *x)
		if columns := columnsThatDiffer(x.key.Table, &x.row, &got, w.numbers); len(columns) > 0 {
			find(Different, x.key, columns, "row has other content than the event that it says wrote it")
		}
	case there && at.Before(got.Place):
		j.superseded++
		owner := got.RunID
		if x.key.Table == Steps || x.key.Table == CheckpointsV2 {
			owner = x.key.ID
		}
		j.later = append(j.later, Claim{Key: x.key, RunID: owner, Place: got.Place})
	case refused, j.duplicate, gone, j.untold:
	case j.keyless && there: // the missing key is a finding, and whether the row is one, it does not tell
	case x.key.Table == Outbox && (there || w.older(ev, w.eventsKept)):
		// Whoever was first with the id has it; or it was emitted and removed for its age.
	case there:
		find(Stale, x.key, nil, "row was last written at %s, before the event", placeText(got.Place, w.generation))
	default:
		find(Missing, x.key, nil, "row is not there")
	}
}

func placeText(p Place, generation uint32) string {
	switch p.Generation {
	case 0:
		return "no sequence"
	case generation:
		return fmt.Sprintf("sequence %d", p.Sequence)
	default:
		return fmt.Sprintf("sequence %d of another log", p.Sequence)
	}
}

// note explains the places in the run's own row that ev is.
func (j *judgement) note(ev *wire.Event, run RunRow, at Place) {
	k := Key{Table: Runs, ID: ev.RunID}
	if ev.RunID == "" {
		return
	}
	if run.Begun == at && run.Attempt == ev.Attempt {
		j.explained = append(j.explained, written{key: k, owner: ev.RunID, row: Row{Place: at}})
	}
	if run.Deleted == at && lastDelete(ev) >= 0 {
		j.explained = append(j.explained, written{key: k, owner: ev.RunID, row: Row{Place: at}})
	}
}

func (j *judgement) wrote(t Table) bool {
	for i := range j.explained {
		if j.explained[i].key.Table == t {
			return true
		}
	}
	return false
}
