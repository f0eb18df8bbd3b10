package mysqlstore

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// questions is how many statements the server has been sent on the only connection that the store commits on, this one not counted.
func questions(t testing.TB, s *Store) (n int) {
	t.Helper()
	var name string
	require.NoError(t, s.writers.QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Questions'").Scan(&name, &n))
	_, err := s.writers.ExecContext(t.Context(), "COMMIT") // the connections do not end transactions by themselves
	require.NoError(t, err)
	return n - 1
}

// I7, and what it costs, as the server counts its statements. One event of a thousand: a few statements more than without it, and one
// transaction; half of them are the others', which are no longer a round number. The batches of the second kind write into all tables.
func TestI7OneEventOfAThousandCostsAFewStatements(t *testing.T) {
	t.Parallel()
	const n = 1000
	simple := func(seq uint64) wire.Event { return save(seq, fmt.Sprint("run ", seq%50), int32(seq), `{"n":1}`) }
	all := func(seq uint64) wire.Event {
		id := fmt.Sprint("id ", seq)
		return eventOf(seq, fmt.Sprint("run ", seq%50), stepOp(int32(seq), `{"n":1}`), checkpointOp(id, 1, "1"), v2Op(int32(seq), id, "1"), outboxOp(id, "1"))
	}
	longNode := stepOp(1, "1")
	longNode.NodeID = strings.Repeat("x", 256)
	tests := []struct {
		name string
		good func(seq uint64) wire.Event
		bad  func(seq uint64) wire.Op
		many int // of the events that are bad, evenly spread
		most int // statements more than without them
	}{
		{"one state that is no JSON", simple, func(uint64) wire.Op { return stepOp(-1, "{") }, 1, 11},
		{"one node id that is too long", simple, func(uint64) wire.Op { return longNode }, 1, 11},
		{"one step that a check of the user's forbids", simple, func(uint64) wire.Op { return stepOp(5000, "1") }, 1, 21},
		{"one state that is no JSON, all tables", all, func(uint64) wire.Op { return stepOp(-1, "{") }, 1, 14},
		{"one outbox event that is no JSON, all tables", all, func(seq uint64) wire.Op { return outboxOp(fmt.Sprint("bad ", seq), "{") }, 1, 16},
		{"one key that is too long, all tables", all, func(seq uint64) wire.Op {
			return v2Op(-1, fmt.Sprint(seq)+strings.Repeat("k", 256), "1")
		}, 1, 14},
		{"ten states that are no JSON", simple, func(uint64) wire.Op { return stepOp(-1, "{") }, 10, 11},
		{"ten node ids that are too long", simple, func(uint64) wire.Op { return longNode }, 10, 40},
		{"ten steps that a check of the user's forbids", simple, func(uint64) wire.Op { return stepOp(5000, "1") }, 10, 100},
		{"nothing but states that are no JSON", simple, func(uint64) wire.Op { return stepOp(-1, "{") }, n, 5},
		{"nothing but node ids that are too long", simple, func(uint64) wire.Op { return longNode }, n, 1100},
		{"nothing but steps that a check of the user's forbids", simple, func(uint64) wire.Op { return stepOp(5000, "1") }, n, 2100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, dsn, look := ready(t)
			exec(t, look, "ALTER TABLE workflow_steps ADD CONSTRAINT own CHECK (step < 5000)")
			s := open(t, dsn, func(c *Config) { c.Owner, c.Writers = "two", 1 })
			require.NoError(t, s.Register(t.Context(), testLog))
			term := acquire(t, s, 0)
			commit(t, s, &term, save(1, "run", 1, "1")) // what is asked once is asked
			var events, poisoned []wire.Event
			bad := map[uint64]bool{}
			for i := range uint64(n) {
				ev, seq := tt.good(i+2), i+2
				events = append(events, ev)
				if i%(n/uint64(tt.many)) == n/uint64(tt.many)/2 {
					bad[seq] = true
					ev.Ops = append(ev.Ops, tt.bad(seq))
				}
				poisoned = append(poisoned, ev)
			}
			for _, few := range []int{n - 1, max(1, n-tt.many)} { // what is prepared once is prepared
				statements(t, s, look, term, events[:few], nil)
			}
			clean := statements(t, s, look, term, events, nil)
			dirty := statements(t, s, look, term, poisoned, bad)
			t.Logf("%s: %d statements without, %d with: %d more", tt.name, clean, dirty, dirty-clean)
			require.LessOrEqual(t, dirty-clean, tt.most)
		})
	}
}

// statements is how many statements it takes to commit events, of which exactly those are bad; afterwards everything is as it was.
func statements(t *testing.T, s *Store, look *sql.DB, term partition.Term, events []wire.Event, bad map[uint64]bool) int {
	t.Helper()
	s.runs.mu.Lock()
	known := s.runs.known[0]
	s.runs.asked[0] = time.Now().Add(time.Hour) // it is not asked again because the machine is slow
	s.runs.mu.Unlock()
	from := questions(t, s)
	refused, commits := isolate(t, s, batch(term, events...))
	to := questions(t, s)
	require.Len(t, refused, len(bad))
	for seq := range bad {
		require.Contains(t, refused, seq)
	}
	require.LessOrEqual(t, commits, 2)
	require.Equal(t, len(events)-len(bad), one[int](t, look, "SELECT COUNT(*) FROM workflow_steps WHERE log_seq>1"))
	rewind(t, look, 0, term.Position)
	s.runs.mu.Lock()
	s.runs.known[0] = known
	s.runs.mu.Unlock()
	for _, table := range allTables {
		if table != "workflow_steps" {
			exec(t, look, "DELETE FROM "+table)
		}
	}
	exec(t, look, "DELETE FROM workflow_steps WHERE log_seq>1")
	return to - from - 2 // what counting takes
}
