package mysqlstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/wire"
)

// row is an op with what its event gives it.
type row struct {
	event *wire.Event
	op    *wire.Op
}

// json are the values that go into columns of JSON.
func (r row) json() [][]byte {
	if v2 := r.op.V2; v2 != nil {
		return [][]byte{r.op.State, v2.Frontier, v2.RecordedIOs}
	}
	return [][]byte{r.op.State}
}

// rows are what events write, by table.
type rows struct{ steps, checkpoints, checkpointsV2, outbox []row }

// add adds what ev writes, and reports whether that includes a step. What an event saves of its run before it deletes it, it deletes.
func (r *rows) add(ev *wire.Event) (stepSaved bool) {
	deletes := -1
	for j := range ev.Ops {
		if ev.Ops[j].Type == wire.OpDeleteRun {
			deletes = j
		}
	}
	for j := range ev.Ops {
		x := row{ev, &ev.Ops[j]}
		switch t := x.op.Type; t {
		case wire.OpStep:
			if j > deletes {
				r.steps = append(r.steps, x)
				stepSaved = true
			}
		case wire.OpCheckpointV2:
			if j > deletes {
				r.checkpointsV2 = append(r.checkpointsV2, x)
			}
		case wire.OpCheckpoint:
			r.checkpoints = append(r.checkpoints, x)
		case wire.OpOutbox:
			r.outbox = append(r.outbox, x)
		case wire.OpDeleteRun, wire.OpAttempt:
		default:
			panic(fmt.Sprintf("assertion: %s reached the store", t))
		}
	}
	return stepSaved
}

// addOutliving adds what ev, which is from before its run was deleted, writes of nobody's run: named checkpoints, which may be gone for another
// reason. With keys, which went with the run, it is not known whether it applied.
func (r *rows) addOutliving(ev *wire.Event) {
	if len(ev.Keys()) > 0 {
		return
	}
	for j := range ev.Ops {
		if ev.Ops[j].Type == wire.OpCheckpoint {
			r.checkpoints = append(r.checkpoints, row{ev, &ev.Ops[j]})
		}
	}
}

// write writes r: each table sorted as its key is, so that commits take their locks in one order, and of one key in log order, so that
// the last one stands. The outbox is in log order, which becomes that of its events.
func (a *applier) write(ctx context.Context, r *rows) error {
	byRun := func(x, y row) int {
		return cmp.Or(strings.Compare(x.event.RunID, y.event.RunID), cmp.Compare(x.op.Step, y.op.Step))
	}
	slices.SortStableFunc(r.steps, byRun)
	slices.SortStableFunc(r.checkpointsV2, byRun)
	slices.SortStableFunc(r.checkpoints, func(x, y row) int { return strings.Compare(x.op.ID, y.op.ID) })
	for _, w := range []struct {
		to   *upsert
		rows []row
	}{{&saveSteps, r.steps}, {&saveCheckpoints, r.checkpoints}, {&saveCheckpointsV2, r.checkpointsV2}, {a.outbox(), r.outbox}} {
		if w.to == nil {
			continue
		}
		written, err := a.writeBulk(ctx, w.to, w.rows)
		if err != nil {
			return err
		}
		w.rows = w.rows[written:]
		st := &w.to.guarded
		if !a.guarded() {
			st = &w.to.plain
		}
		err = a.runFor(ctx, &writing{
			st: st, n: len(w.rows), exec: a.exec,
			item: func(q []byte, i int) []byte { return w.to.row(q, w.rows[i], a.place(w.rows[i].event)) },
			of:   func(i int) []*wire.Event { return []*wire.Event{w.rows[i].event} },
			json: func(i int) [][]byte { return w.rows[i].json() },
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// upsert saves rows in a table.
type upsert struct {
	// guarded keeps I4; plain, for writes that no log orders, overwrites what is there and leaves log_seq and log_gen.
	guarded, plain statement
	// row appends a row.
	row func(q []byte, x row, at place) []byte
	// bulk writes many rows; nil writes each as text.
	bulk *bulk
}

// newUpsert is an upsert of what into a table: columns are inserted, those of them in replaced also change when the row is there.
//
// Both engines assign from left to right and let later expressions see earlier assignments, so what is compared is assigned last: log_seq
// under the same condition as the values, and log_gen, which then can only stay or grow, without one. VALUES() is deprecated in
// MySQL, but its successor is unknown to MariaDB.
func newUpsert(what, into, columns, replaced string, r func(q []byte, x row, at place) []byte, b *bulk) upsert {
	const notOlder = "(VALUES(log_gen), VALUES(log_seq)) >= (log_gen, log_seq)"
	u := upsert{row: r, bulk: b}
	u.plain = statement{verb: "insert", what: what, head: "INSERT INTO " + into + " (" + columns + ") VALUES ", sep: ","}
	u.guarded = u.plain
	for i, c := range strings.Split(replaced, ", ") {
		lead := ", "
		if i == 0 {
			lead = " ON DUPLICATE KEY UPDATE "
		}
		u.guarded.tail += lead + c + "=IF(" + notOlder + ", VALUES(" + c + "), " + c + ")"
		u.plain.tail += lead + c + "=VALUES(" + c + ")"
	}
	u.guarded.tail += ", log_seq=IF(" + notOlder + ", VALUES(log_seq), log_seq), log_gen=GREATEST(log_gen, VALUES(log_gen))"
	return u
}

// created_at is of the first save, and stays.
var (
	saveSteps = newUpsert("steps", "workflow_steps",
		"run_id, step, node_id, state, log_seq, log_gen, attempt, created_at, updated_at", "node_id, state, attempt, updated_at", appendStep, &bulkSteps)
	saveCheckpoints = newUpsert("checkpoints", "workflow_checkpoints",
		"checkpoint_id, step, state, log_seq, log_gen, created_at, updated_at", "step, state, updated_at", appendCheckpoint, nil)
	saveCheckpointsV2 = newUpsert("V2 checkpoints", "workflow_checkpoints_v2",
		"run_id, step_id, state, frontier, recorded_ios, rng_seed, label, idempotency_key, timestamp, log_seq, log_gen, attempt, created_at",
		"state, frontier, recorded_ios, rng_seed, label, idempotency_key, timestamp, attempt", appendCheckpointV2, nil)
)

// outbox is how outbox events are saved; nil is not at all.
func (a *applier) outbox() *upsert {
	switch {
	case a.again == nil, a.again.Outbox == replay.Pending:
		return &saveOutbox
	case a.again.Outbox == replay.Skip:
		return nil
	default:
		return &saveEmitted
	}
}

// saveOutbox leaves an event whose id is there as it is, whoever wrote it: it may be leased or emitted already.
var saveOutbox = upsert{guarded: insertOutbox, plain: insertOutbox, row: appendOutbox}

var insertOutbox = statement{
	verb: "insert", what: "outbox events", head: "INSERT INTO events_outbox (id, run_id, event_data, log_seq, log_gen, created_at) VALUES ",
	sep: ",", tail: " ON DUPLICATE KEY UPDATE id=id",
}

func appendStep(q []byte, x row, at place) []byte {
	q = append(q, '(')
	q = appendString(q, x.event.RunID)
	q = append(q, ',')
	q = strconv.AppendInt(q, int64(x.op.Step), 10)
	q = append(q, ',')
	q = appendString(q, x.op.NodeID)
	q = append(q, ',')
	q = appendString(q, x.op.State)
	q = appendPlace(q, at)
	q = append(q, ',')
	q = appendUint(q, uint64(x.event.Attempt))
	return appendTwice(q, x.event.Message.Logged)
}

func appendCheckpoint(q []byte, x row, at place) []byte {
	q = append(q, '(')
	q = appendString(q, x.op.ID)
	q = append(q, ',')
	q = strconv.AppendInt(q, int64(x.op.Step), 10)
	q = append(q, ',')
	q = appendString(q, x.op.State)
	q = appendPlace(q, at)
	return appendTwice(q, x.event.Message.Logged)
}

func appendCheckpointV2(q []byte, x row, at place) []byte {
	v2 := x.op.V2
	q = append(q, '(')
	q = appendString(q, x.event.RunID)
	q = append(q, ',')
	q = strconv.AppendInt(q, int64(x.op.Step), 10)
	for _, json := range [][]byte{x.op.State, v2.Frontier, v2.RecordedIOs} {
		q = append(q, ',')
		q = appendString(q, json)
	}
	q = append(q, ',')
	q = strconv.AppendInt(q, v2.RNGSeed, 10)
	q = append(q, ',')
	q = appendString(q, v2.Label)
	q = append(q, ',')
	q = appendString(q, v2.Key)
	q = append(q, ',')
	if v2.Timestamp.IsZero() {
		q = appendLogged(q, x.event.Message.Logged)
	} else {
		q = appendDateTime(q, v2.Timestamp)
	}
	q = appendPlace(q, at)
	q = append(q, ',')
	q = appendUint(q, uint64(x.event.Attempt))
	q = append(q, ',')
	q = appendLogged(q, x.event.Message.Logged)
	return append(q, ')')
}

func appendOutbox(q []byte, x row, at place) []byte {
	q = append(q, '(')
	q = appendString(q, x.op.ID)
	q = append(q, ',')
	q = appendString(q, x.event.RunID)
	q = append(q, ',')
	q = appendString(q, x.op.State)
	q = appendPlace(q, at)
	q = append(q, ',')
	q = appendLogged(q, x.event.Message.Logged)
	return append(q, ')')
}

func appendPlace(q []byte, at place) []byte {
	q = append(q, ',')
	q = appendUint(q, at.seq)
	q = append(q, ',')
	return appendUint(q, uint64(at.gen))
}

// appendTwice ends a row with the time at which it was created and is updated.
func appendTwice(q []byte, t time.Time) []byte {
	from := len(q)
	q = append(q, ',')
	q = appendLogged(q, t)
	q = append(q, q[from:]...)
	return append(q, ')')
}
