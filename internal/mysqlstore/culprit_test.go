package mysqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// named are the events that a commit was refused for.
func named(t testing.TB, err error) map[uint64]wire.Poison {
	t.Helper()
	e, ok := errors.AsType[*batcher.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, batcher.Refused, e.Class, "%v", err)
	return e.Refused
}

// isolate commits events as a batcher does: with what is refused by name passed over, until the rest is taken. It returns what was refused,
// and how many commits it took.
func isolate(t testing.TB, s *Store, b *batcher.Batch) (refused map[uint64]wire.Poison, commits int) {
	t.Helper()
	refused = map[uint64]wire.Poison{}
	rest := *b
	rest.Events = slices.Clone(b.Events)
	for commits = 1; ; commits++ {
		err := s.Commit(t.Context(), &rest)
		if err == nil {
			return refused, commits
		}
		maps.Copy(refused, named(t, err))
		for i, ev := range rest.Events {
			if why, bad := refused[ev.Message.Sequence]; bad {
				poison := *ev
				poison.Ops, poison.Poison = nil, &why
				rest.Events[i] = &poison
			}
		}
	}
}

// refusing makes the server refuse rows of every table whose id is of the form "bad 1406 …", with that error; which row it is, it says wrongly.
func refusing(t testing.TB, db *sql.DB) {
	t.Helper()
	for table, id := range map[string]string{
		"workflow_steps": "node_id", "workflow_checkpoints": "checkpoint_id", "workflow_checkpoints_v2": "label",
		"events_outbox": "id", "idempotency_keys": "key_value", "persistd_runs": "run_id",
	} {
		exec(t, db, fmt.Sprintf(`CREATE TRIGGER refuse_%[1]s BEFORE INSERT ON %[1]s FOR EACH ROW BEGIN
			DECLARE n INT;
			IF NEW.%[2]s LIKE 'bad %%' THEN
				SET n = CAST(SUBSTRING(NEW.%[2]s, 5, 4) AS UNSIGNED);
				SIGNAL SQLSTATE '22000' SET MYSQL_ERRNO = n, MESSAGE_TEXT = 'what the server says, at row 1';
			END IF;
		END`, table, id))
	}
}

// badIn are events that write an id of the name into each of the tables.
func badIn(seq uint64, name string) map[string]wire.Event {
	step, v2 := stepOp(1, "1"), v2Op(1, "", "1")
	step.NodeID, v2.V2.Label = name, name
	return map[string]wire.Event{
		"steps":          eventOf(seq, fmt.Sprint("run ", seq), step),
		"checkpoints":    eventOf(seq, fmt.Sprint("run ", seq), stepOp(1, "1"), checkpointOp(name, 1, "1")),
		"V2 checkpoints": eventOf(seq, fmt.Sprint("run ", seq), stepOp(1, "1"), v2),
		"outbox":         eventOf(seq, fmt.Sprint("run ", seq), stepOp(1, "1"), outboxOp(name, "1")),
		"keys":           eventOf(seq, fmt.Sprint("run ", seq), stepOp(1, "1"), v2Op(1, name, "1")),
		"runs":           attemptOf(1, eventOf(seq, name, stepOp(1, "1"))),
	}
}

// good is an event that writes into every table, and is taken.
func good(seq uint64) wire.Event {
	id := fmt.Sprint("good ", seq)
	return attemptOf(1, eventOf(seq, id, stepOp(1, "1"), checkpointOp(id, 1, "1"), v2Op(1, id, "1"), outboxOp(id, "1")))
}

// I7: whatever the server refuses for good, in whichever table and wherever in the batch, it is that event that is named, with that error,
// and no other.
func TestI7TheEventAtFaultIsNamedAndNoOther(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	refusing(t, look)
	term := acquire(t, s, 0)
	for number, r := range rules {
		if r.class != batcher.Never || number == duplicateEntry || number == packetTooLarge { // these have tests of their own
			continue
		}
		for table, ev := range badIn(2, fmt.Sprintf("bad %04d", number)) {
			for name, seqs := range map[string][3]uint64{"first": {1, 2, 3}, "in the middle": {2, 1, 3}, "last": {3, 1, 2}} {
				events := []wire.Event{good(seqs[1]), good(seqs[2])}
				ev.Message.Sequence = seqs[0]
				events = slices.Insert(events, int(seqs[0]-1), ev)
				refused := named(t, s.Commit(t.Context(), batch(term, events...)))
				require.Equal(t, []uint64{seqs[0]}, slices.Collect(maps.Keys(refused)), "%d in %s, %s", number, table, name)
				why := refused[seqs[0]]
				require.Equal(t, number, why.ErrorNumber)
				require.Equal(t, wire.CodeDatabase, why.Code)
				require.Contains(t, why.Reason, "what the server says")
			}
		}
	}
	for _, table := range allTables {
		require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM "+table), "nothing is written by a commit that is refused")
	}
}

// What the servers refuse by themselves, and how it comes to the right event.
func TestI7ValuesThatTheServerRefusesAreNamed(t *testing.T) {
	t.Parallel()
	mysql := stacktest.Engine(t) == devstack.MySQL
	number := func(ofMySQL, ofMariaDB uint16) uint16 {
		if mysql {
			return ofMySQL
		}
		return ofMariaDB
	}
	long, broken := strings.Repeat("x", 256), func(edit func(*wire.Op)) wire.Op {
		op := v2Op(1, "", "1")
		edit(&op)
		return op
	}
	named256 := stepOp(1, "1")
	named256.NodeID = long
	notText := stepOp(1, "1")
	notText.NodeID = "\xff"
	hundredDeep := strings.Repeat("[", 101) + strings.Repeat("]", 101)
	tests := []struct {
		name   string
		before string // what was done to the schema
		op     wire.Op
		number uint16
	}{
		{name: "a state that is no JSON", op: stepOp(1, "{"), number: number(3140, 4025)},
		{name: "a state that is nested too deep", op: stepOp(1, hundredDeep), number: number(3157, 4025)},
		{name: "a node id that is too long", op: named256, number: 1406},
		{name: "a node id that is no text", op: notText, number: 1366},
		{name: "a checkpoint's state that is no JSON", op: checkpointOp("bad", 1, "nul"), number: number(3140, 4025)},
		{name: "a checkpoint's id that is too long", op: checkpointOp(long, 1, "1"), number: 1406},
		{name: "a V2 checkpoint's state that is no JSON", op: v2Op(1, "", "nul"), number: number(3140, 4025)},
		{name: "a frontier that is no JSON", op: broken(func(op *wire.Op) { op.V2.Frontier = []byte("[") }), number: number(3140, 4025)},
		{name: "recorded I/O that is no JSON", op: broken(func(op *wire.Op) { op.V2.RecordedIOs = []byte("[") }), number: number(3140, 4025)},
		{name: "a label that is too long", op: broken(func(op *wire.Op) { op.V2.Label = long }), number: 1406},
		{name: "a key that is too long", op: v2Op(1, long, "1"), number: 1406},
		{name: "an outbox event that is no JSON", op: outboxOp("bad", "nul"), number: number(3140, 4025)},
		{name: "an outbox event's id that is too long", op: outboxOp(long, "1"), number: 1406},
		{name: "a step that a smaller column does not take", before: "MODIFY step SMALLINT NOT NULL", op: stepOp(40000, "1"), number: 1264},
		{name: "a step that a check of the user's forbids", before: "ADD CONSTRAINT own CHECK (step < 1000)", op: stepOp(1000, "1"), number: number(3819, 4025)},
		{name: "a node that a list of the user's has not", before: "MODIFY node_id ENUM('node') NOT NULL", op: broken(func(op *wire.Op) {
			*op = stepOp(1, "1")
			op.NodeID = "other"
		}), number: 1265},
		{name: "a step of which a column of the user's is out of range", before: "ADD COLUMN own DOUBLE AS (EXP(step)) STORED", op: stepOp(9000, "1"), number: 1690},
	}
	if mysql {
		tests = append(tests, []struct {
			name   string
			before string
			op     wire.Op
			number uint16
		}{
			{name: "a number too large", op: stepOp(1, `{"n":1e400}`), number: 3140},
			{name: "a name of 64 KiB in a state", op: stepOp(1, `{"`+strings.Repeat("k", 65536)+`":1}`), number: 3151},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			if tt.before != "" {
				exec(t, look, "ALTER TABLE workflow_steps "+tt.before)
			}
			term := acquire(t, s, 0)
			const n = 20
			for _, at := range []uint64{1, 7, n} {
				var events []wire.Event
				for seq := range uint64(n) {
					ev := eventOf(seq+1, fmt.Sprint("run ", seq), stepOp(9, "1"), checkpointOp(fmt.Sprint(seq), 1, "1"), v2Op(1, fmt.Sprint(seq), "1"),
						outboxOp(fmt.Sprint(seq), "1"))
					if seq+1 == at {
						ev.Ops = append(ev.Ops, tt.op)
					}
					events = append(events, ev)
				}
				refused := named(t, s.Commit(t.Context(), batch(term, events...)))
				require.Equal(t, []uint64{at}, slices.Collect(maps.Keys(refused)), "at %d", at)
				require.Equal(t, tt.number, refused[at].ErrorNumber, refused[at].Reason)
			}
			require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps"))
		})
	}
}

func TestI7AnEventThatFitsNoPacketIsNamed(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "run", 1, "1"))
	s.packet.n.Store(64 << 10)
	large := save(3, "run", 3, `"`+strings.Repeat("x", 64<<10)+`"`)
	refused := named(t, s.Commit(t.Context(), batch(term, save(2, "run", 2, "1"), large, save(4, "run", 4, "1"))))
	require.Equal(t, []uint64{3}, slices.Collect(maps.Keys(refused)))
	require.EqualValues(t, packetTooLarge, refused[3].ErrorNumber)
}

// A duplicate in a key of the user's hangs on what else is there: it is left to the batcher, which goes by the order of the log.
func TestI7OfWhatIsRefusedOnlyTogetherNobodyIsNamed(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	exec(t, look, "ALTER TABLE idempotency_keys ADD UNIQUE KEY own (step_id)")
	term := acquire(t, s, 0)
	// They are written in the order of their keys, in which the later event is the first.
	a, b := v2Op(1, "a", "1"), v2Op(1, "b", "1")
	err := s.Commit(t.Context(), batch(term, eventOf(1, "one", b), eventOf(2, "two", a), save(3, "run", 1, "1")))
	e, ok := errors.AsType[*batcher.Error](err)
	require.True(t, ok)
	require.EqualValues(t, duplicateEntry, e.Number)
	require.Equal(t, batcher.Never, e.Class)
	require.Empty(t, e.Refused)
}

// An event that stands alone among others that write nothing needs no search.
func TestI7TheOnlyEventThatWritesIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	poison := wire.Event{Message: wire.Message{Sequence: 1}, Poison: &wire.Poison{Code: wire.CodeNotJSON}}
	refused := named(t, s.Commit(t.Context(), batch(term, poison, save(2, "run", 1, "{"))))
	require.Equal(t, []uint64{2}, slices.Collect(maps.Keys(refused)))
}
