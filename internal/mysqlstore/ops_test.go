package mysqlstore

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// eventOf is an event of ops of a run, logged seq milliseconds after created.
func eventOf(seq uint64, run string, ops ...wire.Op) wire.Event {
	ev := wire.Event{
		Message: wire.Message{Sequence: seq, Logged: created.Add(time.Duration(seq) * time.Millisecond)},
		Kind:    wire.KindRun, RunID: run, Ops: ops,
	}
	if run == "" {
		ev.Kind = wire.KindCheckpoint
	}
	if len(ev.Keys()) > 0 {
		ev.ContentHash = wire.HashContent(run, ops)
	}
	return ev
}

// attemptOf is ev as attempt n wrote it.
func attemptOf(n uint32, ev wire.Event) wire.Event {
	ev.Attempt = n
	return ev
}

func stepOp(step int32, state string) wire.Op {
	return wire.Op{Type: wire.OpStep, Step: step, NodeID: "node", State: []byte(state)}
}

func checkpointOp(id string, step int32, state string) wire.Op {
	return wire.Op{Type: wire.OpCheckpoint, ID: id, Step: step, State: []byte(state)}
}

func v2Op(step int32, key, state string) wire.Op {
	v2 := &wire.V2{Frontier: []byte("null"), RecordedIOs: []byte("null"), Key: key}
	return wire.Op{Type: wire.OpCheckpointV2, Step: step, State: []byte(state), V2: v2}
}

func outboxOp(id, data string) wire.Op {
	return wire.Op{Type: wire.OpOutbox, ID: id, State: []byte(data)}
}

var (
	deleteOp = wire.Op{Type: wire.OpDeleteRun}
	beginOp  = wire.Op{Type: wire.OpAttempt}
)

// begin is the event that begins an attempt.
func begin(seq uint64, run string, n uint32) wire.Event {
	ev := attemptOf(n, eventOf(seq, run, beginOp))
	ev.Kind = wire.KindAttempt
	return ev
}

// dump is every row of the tables that hold what workers save, all columns but those named, sorted.
func dump(t testing.TB, db *sql.DB, without ...string) string {
	t.Helper()
	var all strings.Builder
	for _, table := range allTables {
		all.WriteString("== " + table + "\n")
		lines := readAll(t, db, "SELECT * FROM "+table, without...)
		slices.Sort(lines)
		for _, line := range lines {
			all.WriteString(line + "\n")
		}
	}
	return all.String()
}

// readAll is each row that q reads, its columns by name but those named.
func readAll(t testing.TB, db *sql.DB, q string, without ...string) (lines []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), q)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		values, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, rows.Scan(into...))
		var line strings.Builder
		for i, v := range values {
			if !slices.Contains(without, columns[i]) {
				fmt.Fprintf(&line, " %s=%q", columns[i], v.String)
			}
		}
		lines = append(lines, strings.TrimSpace(line.String()))
	}
	require.NoError(t, rows.Err())
	return lines
}

// one reads one value.
func one[T any](t testing.TB, db *sql.DB, q string, args ...any) (v T) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), q, args...).Scan(&v), q)
	return v
}

// rewind sets the position of a partition back.
func rewind(t testing.TB, db *sql.DB, no int, position uint64) {
	t.Helper()
	exec(t, db, "UPDATE persistd_partitions SET position=? WHERE partition_no=?", position, no)
}

func TestI5AnEventOfEveryOpIsWrittenWithAllThatItSays(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	full := v2Op(7, "key'\\1", `{"s":2}`)
	own := time.Date(2040, 5, 6, 7, 8, 9, 123456000, time.UTC) // no TIMESTAMP holds it
	*full.V2 = wire.V2{
		Frontier: []byte(`[1]`), RecordedIOs: []byte(`[2]`), RNGSeed: -1 << 63, Label: "läbel", Key: full.V2.Key, Timestamp: own,
	}
	ev := attemptOf(3, eventOf(5, "run", stepOp(1, `{"s":1}`), checkpointOp("cp", 4, `{"c":1}`), full, v2Op(8, "", "1"), outboxOp("e1", `{"e":1}`)))
	commit(t, s, &term, ev)

	at := created.Add(5 * time.Millisecond).Truncate(time.Microsecond)
	for q, want := range map[string][]any{
		"SELECT step, node_id, state, attempt, created_at, updated_at, log_seq, log_gen FROM workflow_steps WHERE run_id='run'": {
			1, "node", `{"s":1}`, 3, at, at, 5, 1,
		},
		"SELECT step, state, created_at, updated_at, log_seq, log_gen FROM workflow_checkpoints WHERE checkpoint_id='cp'": {
			4, `{"c":1}`, at, at, 5, 1,
		},
		"SELECT state, frontier, recorded_ios, rng_seed, idempotency_key, timestamp, label, attempt, created_at, log_seq, log_gen" +
			" FROM workflow_checkpoints_v2 WHERE run_id='run' AND step_id=7": {
			`{"s":2}`, `[1]`, `[2]`, -1 << 63, `key'\1`, own, "läbel", 3, at, 5, 1,
		},
		"SELECT frontier, recorded_ios, idempotency_key, timestamp, label FROM workflow_checkpoints_v2 WHERE run_id='run' AND step_id=8": {
			"null", "null", "", at, "",
		},
		"SELECT run_id, step_id, content_hash, created_at, log_seq, log_gen FROM idempotency_keys WHERE key_value='key''\\\\1'": {
			"run", 7, string(ev.ContentHash[:]), at, 5, 1,
		},
		"SELECT run_id, event_data, emitted_at, created_at, leased_until, lease_holder, log_seq, log_gen FROM events_outbox WHERE id='e1'": {
			"run", `{"e":1}`, nil, at, nil, "", 5, 1,
		},
		"SELECT attempt, attempt_gen, attempt_seq, latest_attempt, deleted_gen, deleted_seq FROM persistd_runs WHERE run_id='run'": {
			3, 1, 5, 3, 0, 0,
		},
	} {
		got := make([]any, len(want))
		into := make([]any, len(want))
		for i := range got {
			into[i] = &got[i]
		}
		require.NoError(t, look.QueryRowContext(t.Context(), q).Scan(into...), q)
		for i := range want {
			if b, ok := got[i].([]byte); ok {
				got[i] = string(b)
			}
			text := fmt.Sprint(got[i])
			if s, ok := want[i].(string); ok && strings.HasPrefix(s, "{") {
				require.JSONEq(t, s, text)
				continue
			}
			require.Equal(t, fmt.Sprint(want[i]), text, "%s: column %d", q, i+1)
		}
	}
	require.Equal(t, 2, one[int](t, look, "SELECT COUNT(*) FROM workflow_checkpoints_v2"))
	require.Equal(t, 1, one[int](t, look, "SELECT COUNT(*) FROM idempotency_keys"), "the empty key is none")
}

func TestAStepSavedAgainKeepsWhenItWasCreatedAndShowsWhenItWasSaved(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	ops := []wire.Op{stepOp(1, "1"), checkpointOp("cp", 1, "1"), v2Op(1, "", "1")}
	commit(t, s, &term, eventOf(1, "run", ops...))
	commit(t, s, &term, eventOf(900, "run", ops...))
	first, last := created.Add(time.Millisecond).Truncate(time.Microsecond), created.Add(900*time.Millisecond).Truncate(time.Microsecond)
	for _, table := range []string{"workflow_steps", "workflow_checkpoints", "workflow_checkpoints_v2"} {
		require.Equal(t, first, one[time.Time](t, look, "SELECT created_at FROM "+table), table)
	}
	require.Equal(t, last, one[time.Time](t, look, "SELECT updated_at FROM workflow_steps"))
	require.Equal(t, last, one[time.Time](t, look, "SELECT updated_at FROM workflow_checkpoints"))
	require.Equal(t, last, one[time.Time](t, look, "SELECT timestamp FROM workflow_checkpoints_v2"), "it says no time of its own")
}

func TestSeveralOpsOfAnEventOnOneRowTheLaterStands(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(1, "run", stepOp(1, "1"), checkpointOp("cp", 1, "1"), v2Op(1, "a", "1"), outboxOp("e", "1"),
		stepOp(1, "2"), checkpointOp("cp", 2, "2"), v2Op(1, "b", "2"), outboxOp("e", "2")))
	require.Equal(t, "2", one[string](t, look, "SELECT state FROM workflow_steps"))
	require.Equal(t, "2", one[string](t, look, "SELECT state FROM workflow_checkpoints"))
	require.Equal(t, "b2", one[string](t, look, "SELECT CONCAT(idempotency_key, state) FROM workflow_checkpoints_v2"))
	require.Equal(t, "1", one[string](t, look, "SELECT event_data FROM events_outbox"), "but an outbox event stays as it is")
	require.Equal(t, 2, one[int](t, look, "SELECT COUNT(*) FROM idempotency_keys"), "and both keys are used")
}

func TestOutboxEventsAreInLogOrderAndEachIDIsThereOnce(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(1, "run", outboxOp("z", "1"), outboxOp("m", "2")), eventOf(2, "other", outboxOp("a", "3")),
		eventOf(3, "run", outboxOp("z", "4"), outboxOp("b", "5")))
	exec(t, look, "UPDATE events_outbox SET emitted_at=NOW(6), leased_until=UTC_TIMESTAMP(6), lease_holder='h' WHERE id='m'")
	was := readAll(t, look, "SELECT * FROM events_outbox WHERE id='m'")
	commit(t, s, &term, eventOf(4, "other", outboxOp("m", "6"), outboxOp("A", "7")))
	require.Equal(t, was, readAll(t, look, "SELECT * FROM events_outbox WHERE id='m'"), "one that is there stays as it is, whoever brings it again")
	require.Equal(t, "z1,m2,a3,b5,A7", one[string](t, look, "SELECT GROUP_CONCAT(id, event_data ORDER BY ord) FROM events_outbox"))
}

func TestNamedCheckpointsAreGlobal(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	runs, names := acquire(t, s, 0), acquire(t, s, 1)
	commit(t, s, &runs, eventOf(2, "run", stepOp(1, "1"), checkpointOp("cp", 2, `"of a run"`)))
	commit(t, s, &names, eventOf(1, "", checkpointOp("cp", 1, `"older"`), checkpointOp("CP", 3, `"another"`)))
	require.Equal(t, `"of a run"`, one[string](t, look, "SELECT state FROM workflow_checkpoints WHERE checkpoint_id='cp'"), "I4 holds between partitions")
	commit(t, s, &names, eventOf(3, "", checkpointOp("cp", 4, `"newer"`)))
	require.Equal(t, `"newer"`, one[string](t, look, "SELECT state FROM workflow_checkpoints WHERE checkpoint_id='cp'"))
	require.Equal(t, 2, one[int](t, look, "SELECT COUNT(*) FROM workflow_checkpoints"))
}
