package verify

import (
	"bytes"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// written is a row that an event writes when it applies.
type written struct {
	key   Key
	owner string // the event's run, "" of a named checkpoint that is saved by itself
	row   Row
}

// rowsOf are the rows that ev writes when it applies, at the place at, each key once and as the database is left with it. What ev saves of
// its run before it deletes it, it deletes.
func rowsOf(ev *wire.Event, at Place) []written {
	deletes := lastDelete(ev)
	all := make([]written, 0, len(ev.Ops))
	index := make(map[Key]int, len(ev.Ops))
	put := func(k Key, r Row, first bool) {
		if i, ok := index[k]; !ok {
			index[k] = len(all)
			all = append(all, written{k, ev.RunID, r})
		} else if !first {
			all[i].row = r
		}
	}
	for i := range ev.Ops {
		op := &ev.Ops[i]
		switch op.Type {
		case wire.OpStep:
			if i > deletes {
				put(Key{Steps, ev.RunID, op.Step}, Row{Place: at, NodeID: op.NodeID, Attempt: ev.Attempt, State: op.State}, false)
			}
		case wire.OpCheckpoint:
			put(Key{Table: Checkpoints, ID: op.ID}, Row{Place: at, Step: op.Step, State: op.State}, false)
		case wire.OpCheckpointV2:
			if i > deletes {
				put(Key{CheckpointsV2, ev.RunID, op.Step}, checkpointV2(ev, op, at), false)
			}
			if k := op.V2.Key; k != "" { // the first that brings it claims it
				put(Key{Table: Keys, ID: k}, Row{Place: at, RunID: ev.RunID, Step: op.Step, ContentHash: ev.ContentHash[:]}, true)
			}
		case wire.OpOutbox: // an event that is there stays as it is
			put(Key{Table: Outbox, ID: op.ID}, Row{Place: at, RunID: ev.RunID, State: op.State}, true)
		case wire.OpDeleteRun, wire.OpAttempt:
		}
	}
	return all
}

func checkpointV2(ev *wire.Event, op *wire.Op, at Place) Row {
	t := op.V2.Timestamp
	if t.IsZero() {
		t = ev.Message.Logged
	}
	return Row{
		Place: at, Attempt: ev.Attempt, State: op.State, Frontier: op.V2.Frontier, RecordedIOs: op.V2.RecordedIOs, RNGSeed: op.V2.RNGSeed,
		Label: op.V2.Label, IdempotencyKey: op.V2.Key, Timestamp: t.UTC().Truncate(time.Microsecond),
	}
}

// lastDelete is the index of the last op of ev that deletes its run, -1 when none does.
func lastDelete(ev *wire.Event) int {
	for i, op := range slices.Backward(ev.Ops) {
		if op.Type == wire.OpDeleteRun {
			return i
		}
	}
	return -1
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

// columnsThatDiffer names the columns of a table in which two rows differ.
func columnsThatDiffer(t Table, want, got *Row, numbers wire.Spelling) (names []string) {
	check := func(name string, same bool) {
		if !same {
			names = append(names, name)
		}
	}
	json := func(name string, a, b []byte) { check(name, wire.SameJSON(a, b, numbers)) }
	switch t {
	case Steps:
		check("node_id", want.NodeID == got.NodeID)
		check("attempt", want.Attempt == got.Attempt)
		json("state", want.State, got.State)
	case Checkpoints:
		check("step", want.Step == got.Step)
		json("state", want.State, got.State)
	case CheckpointsV2:
		check("attempt", want.Attempt == got.Attempt)
		check("rng_seed", want.RNGSeed == got.RNGSeed)
		check("label", want.Label == got.Label)
		check("idempotency_key", want.IdempotencyKey == got.IdempotencyKey)
		check("timestamp", want.Timestamp.Equal(got.Timestamp))
		json("state", want.State, got.State)
		json("frontier", want.Frontier, got.Frontier)
		json("recorded_ios", want.RecordedIOs, got.RecordedIOs)
	case Keys:
		check("run_id", want.RunID == got.RunID)
		check("step_id", want.Step == got.Step)
		check("content_hash", bytes.Equal(want.ContentHash, got.ContentHash))
	case Outbox:
		check("run_id", want.RunID == got.RunID)
		json("event_data", want.State, got.State)
	case Runs:
	}
	return names
}
