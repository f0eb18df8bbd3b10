package mysqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/persistd/persistd/internal/wire"
)

// runStates are rows of persistd_runs by run; a run that has none is not in it, for it never began an attempt and never was deleted.
type runStates map[string]*runState

type runState struct {
	// attempt is the newest that has begun, there by the event at begun; latest is the newest that has saved a step.
	attempt, latest uint32
	begun           place
	// deleted is the event that last deleted the run.
	deleted place
	// there says that the row exists; changed, that it is to be written.
	there, changed bool
}

// lockRuns locks the rows of the events' runs, and makes those that the events need. They stay locked until the transaction ends, so that
// what is decided by them holds.
func (a *applier) lockRuns(ctx context.Context, events []*wire.Event) (runStates, error) {
	runs, missing := a.runsOf(events)
	if len(runs) == 0 {
		return nil, nil
	}
	if err := a.readRuns(ctx, runs, slices.Sorted(maps.Keys(runs))); err != nil {
		return nil, err
	}
	missing = slices.DeleteFunc(missing, func(id string) bool { return runs[id].there })
	if len(missing) > 0 {
		a.made = true
		slices.Sort(missing)
		missing = slices.Compact(missing)
		insert := func(q []byte, i int) []byte {
			q = append(q, '(')
			q = appendString(q, missing[i])
			return append(q, ",UTC_TIMESTAMP(6))"...)
		}
		err := a.runFor(ctx, &writing{
			st: &insertRuns, n: len(missing), item: insert, exec: a.exec,
			of: func(i int) []*wire.Event { return a.needing(events, missing[i]) },
		})
		if err != nil {
			return nil, err
		}
		if err := a.readRuns(ctx, runs, missing); err != nil {
			return nil, err
		}
	}
	maps.DeleteFunc(runs, func(_ string, run *runState) bool { return !run.there })
	return runs, nil
}

// needs is whether ev's run must have a row.
func (a *applier) needs(ev *wire.Event) bool { return ev.Attempt > 0 || a.guarded() && deletes(ev) }

// makes is whether ev makes its run's row, if there is none.
func (a *applier) makes(ev *wire.Event) bool {
	return ev.RunID != "" && ev.Poison == nil && a.needs(ev)
}

// needing are the events of a run for which it must have a row.
func (a *applier) needing(events []*wire.Event, run string) (all []*wire.Event) {
	for _, ev := range events {
		if ev.RunID == run && a.makes(ev) {
			all = append(all, ev)
		}
	}
	return all
}

// runsOf are the runs whose rows matter, and those of them that must have one.
func (a *applier) runsOf(events []*wire.Event) (runs runStates, needed []string) {
	for _, ev := range events {
		if ev.RunID == "" || ev.Poison != nil {
			continue
		}
		needs := a.needs(ev)
		if a.runless && !needs || runs[ev.RunID] != nil && !needs {
			continue
		}
		if runs == nil {
			runs = runStates{}
		}
		runs[ev.RunID] = &runState{}
		if needs {
			needed = append(needed, ev.RunID)
		}
	}
	a.runless = a.runless && len(needed) == 0
	return runs, needed
}

// Rows are looked up in the key, however few there are: a commit that read the whole table would wait for the locks of others' runs.
var (
	insertRuns = statement{
		verb: "insert", what: "runs", head: "INSERT INTO persistd_runs (run_id, updated_at) VALUES ", sep: ",",
		tail: " ON DUPLICATE KEY UPDATE run_id=VALUES(run_id)",
	}
	selectRuns = statement{
		verb: "lock", what: "runs", head: "SELECT run_id, attempt, attempt_gen, attempt_seq, latest_attempt, deleted_gen, deleted_seq" +
			" FROM persistd_runs FORCE INDEX (PRIMARY) WHERE run_id IN (", sep: ",", tail: ") FOR UPDATE", most: mostIn,
	}
	updateRuns = statement{
		verb: "update", what: "runs", head: "INSERT INTO persistd_runs" +
			" (run_id, attempt, attempt_gen, attempt_seq, latest_attempt, deleted_gen, deleted_seq, updated_at) VALUES ", sep: ",",
		tail: " ON DUPLICATE KEY UPDATE attempt=VALUES(attempt), attempt_gen=VALUES(attempt_gen), attempt_seq=VALUES(attempt_seq)," +
			" latest_attempt=VALUES(latest_attempt), deleted_gen=VALUES(deleted_gen), deleted_seq=VALUES(deleted_seq)," +
			" updated_at=VALUES(updated_at)",
	}
)

// mostIn bounds lists of IN: from 1000 on, MariaDB makes a table of one and no longer looks each up in the key.
const mostIn = 500

func (a *applier) readRuns(ctx context.Context, runs runStates, ids []string) error {
	id := func(q []byte, i int) []byte { return appendString(q, ids[i]) }
	return a.run(ctx, &selectRuns, len(ids), id, func(ctx context.Context, q string) (err error) {
		rows, err := a.conn.QueryContext(ctx, q)
		if err != nil {
			return err //nolint:wrapcheck // run does.
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var (
				id  string
				run = runState{there: true}
			)
			err := rows.Scan(&id, &run.attempt, &run.begun.gen, &run.begun.seq, &run.latest, &run.deleted.gen, &run.deleted.seq)
			if err != nil {
				return fmt.Errorf("scan: %w", err)
			}
			runs[id] = &run
		}
		return rows.Err()
	})
}

// admit begins the attempts that the events begin, and finds those that are stale: of an older attempt than the newest that has begun, by
// an event before them in the log. It reports whether all may be applied. A duplicate begins its attempt too: that it was tried is
// enough, and the attempts do not hang on who else has used a key.
func (a *applier) admit(runs runStates, events []*wire.Event, out []outcome) bool {
	ok := true
	for i, ev := range events {
		run := runs[ev.RunID]
		if run == nil || ev.Poison != nil {
			continue
		}
		at := a.place(ev)
		switch {
		case ev.Attempt > run.attempt:
			run.attempt, run.begun, run.changed = ev.Attempt, at, true
			a.begunByWrite = a.begunByWrite || !onlyBegins(ev)
		case ev.Attempt == run.attempt, a.guarded() && !run.begun.before(at), ev.Attempt == 0 && deletesOnly(ev): // the last is an operator's
		default:
			out[i], ok = outcome{stale, run.attempt}, false
		}
	}
	return ok
}

// onlyBegins reports whether ev writes nothing that the database could refuse.
func onlyBegins(ev *wire.Event) bool {
	for i := range ev.Ops {
		if ev.Ops[i].Type != wire.OpAttempt {
			return false
		}
	}
	return true
}

// saveRuns writes the rows that changed.
func (a *applier) saveRuns(ctx context.Context, runs runStates) error {
	var changed []string
	for id, run := range runs {
		if run.changed {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	return a.run(ctx, &updateRuns, len(changed), func(q []byte, i int) []byte {
		run := runs[changed[i]]
		q = append(q, '(')
		q = appendString(q, changed[i])
		for _, n := range []uint64{
			uint64(run.attempt), uint64(run.begun.gen), run.begun.seq, uint64(run.latest), uint64(run.deleted.gen), run.deleted.seq,
		} {
			q = append(q, ',')
			q = appendUint(q, n)
		}
		return append(q, ",UTC_TIMESTAMP(6))"...)
	}, a.exec)
}
