package mysqlstore

import (
	"context"
	"maps"
	"slices"

	"github.com/persistd/persistd/internal/wire"
)

// deleteRuns deletes the runs that events delete, up to the last one that does: what is newer is of the run that came after.
// The place stays in the run's row, so that older events, when they are applied again, do not bring back what is deleted. An event
// that is the last one that deleted the run already has nothing to do.
func (a *applier) deleteRuns(ctx context.Context, runs runStates, events []*wire.Event, out []outcome) error {
	upTo := map[string]*wire.Event{}
	for i, ev := range events {
		if ev.Poison != nil || out[i].result != applied || !deletes(ev) {
			continue
		}
		run, at := runs[ev.RunID], a.place(ev)
		if run != nil {
			if !a.guarded() {
				at = run.deleted
			} else if run.deleted == at {
				continue
			}
			run.changed = run.changed || run.deleted != at || run.latest != 0
			run.deleted, run.latest = at, 0
		}
		upTo[ev.RunID] = ev
	}
	ids := slices.Sorted(maps.Keys(upTo))
	for i := range deletions {
		d := &deletions[i]
		if err := a.run(ctx, &d.statement, len(ids), func(q []byte, i int) []byte { return a.appendDeletion(q, upTo[ids[i]], d) }, a.exec); err != nil {
			return err
		}
	}
	return nil
}

// deletion deletes a table's rows of runs; t is the table with the runs in its statement.
type deletion struct {
	statement
	// keys says that the rows are idempotency keys.
	keys bool
}

// deletions are in the order in which an applier takes its locks. Keys of LangGraph-Go say no run: the run's checkpoints tell which they
// are. Emitted events go; those that are not are promises.
//
// Rows are looked up in a key, however few there are: a commit that read a whole table would wait for the locks of others' runs. DELETE
// takes such a hint only in its form for several tables.
var deletions = []deletion{
	{statement: deletionOf("idempotency keys of LangGraph-Go", "DELETE k FROM workflow_checkpoints_v2 t FORCE INDEX (unique_run_step)"+
		" STRAIGHT_JOIN idempotency_keys k FORCE INDEX (PRIMARY) ON k.key_value=t.idempotency_key"+
		" WHERE k.run_id='' AND t.idempotency_key<>'' AND (")},
	{statement: deletionOf("idempotency keys", "DELETE t FROM idempotency_keys t FORCE INDEX (idx_run) WHERE ("), keys: true},
	{statement: deletionOf("steps", "DELETE t FROM workflow_steps t FORCE INDEX (unique_run_step) WHERE (")},
	{statement: deletionOf("V2 checkpoints", "DELETE t FROM workflow_checkpoints_v2 t FORCE INDEX (unique_run_step) WHERE (")},
	{statement: deletionOf("outbox events", "DELETE t FROM events_outbox t FORCE INDEX (idx_run_id) WHERE t.emitted_at IS NOT NULL AND (")},
}

// deletionOf bounds the runs of a statement, for each of which the server plans a range of the key.
func deletionOf(what, head string) statement {
	return statement{verb: "delete", what: "runs' " + what, head: head, sep: " OR ", tail: ")", most: 100}
}

// appendDeletion appends the condition for d's rows that ev deletes: what is older. Of itself ev saved nothing before that is still there,
// and its idempotency keys stay.
func (a *applier) appendDeletion(q []byte, ev *wire.Event, d *deletion) []byte {
	q = append(q, "t.run_id="...)
	q = appendString(q, ev.RunID)
	switch {
	case a.guarded():
		q = append(q, " AND (t.log_gen,t.log_seq)<("...)
		q = appendUint(q, uint64(a.generation))
		q = append(q, ',')
		q = appendUint(q, ev.Message.Sequence)
		q = append(q, ')')
	case d.keys:
		for _, k := range ev.Keys() {
			q = append(q, " AND t.key_value<>"...)
			q = appendString(q, k)
		}
	}
	return q
}
