package mysqlstore

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// decoded is ev as ingest has it: it knows how deep states are nested.
func decoded(ev wire.Event) wire.Event {
	for i := range ev.Ops {
		ev.Ops[i].Shallow = wire.Depth(ev.Ops[i].State) <= wire.MaxDepthPortable
	}
	return ev
}

// many are steps of all kinds that there are, of two runs.
func many(from uint64, n int) []wire.Event {
	states := []string{
		`{"n":1}`, `"'"`, `"\\ \" \u0000 \n"`, `"é🦊"`, `[1,-0.5e3,null,true]`, `"` + strings.Repeat("x", 20_000) + `"`, `""`,
		strings.Repeat("[", 31) + strings.Repeat("]", 31), `"%_;--/*"`,
	}
	nodes := []string{"", "node", "it's \\ \"", "🦊"}
	var events []wire.Event
	for i := range n {
		ev := decoded(save(from+uint64(i), []string{"run", "run's \\ \"🦊"}[i%2], int32(i/2-10), states[i%len(states)]))
		ev.Ops[0].NodeID = nodes[i%len(nodes)]
		ev.Message.Logged = time.Date(1960+i%120, 1, 2, 3, 4, 5, 123_456_789, time.UTC)
		events = append(events, ev)
	}
	return events
}

const allOfSteps = "SELECT COALESCE(SHA2(GROUP_CONCAT(CONCAT_WS('|', run_id, step, node_id, CAST(state AS CHAR), log_seq, log_gen, attempt," +
	" created_at, updated_at) ORDER BY run_id, step SEPARATOR ';'), 256), '')  FROM workflow_steps"

// Whether rows go as the values of a prepared statement or as text, the same stands in the table.
func TestRowsOfAPreparedStatementAreThoseOfATextual(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	exec(t, look, "SET SESSION group_concat_max_len=1<<30")
	term := acquire(t, s, 0)
	events := many(1, 1100)
	before := prepares(t, s)
	commit(t, s, &term, events...)
	require.Greater(t, prepares(t, s), before, "statements were prepared")
	prepared := one[string](t, look, allOfSteps)
	require.Equal(t, len(events), one[int](t, look, "SELECT COUNT(*) FROM workflow_steps"))

	exec(t, look, "DELETE FROM workflow_steps")
	exec(t, look, "UPDATE persistd_partitions SET position=0")
	term.Position = 0
	for few := range slices.Chunk(events, 30) { // they go as text
		commit(t, s, &term, few...)
	}
	require.Equal(t, prepared, one[string](t, look, allOfSteps))
}

// prepares is how many statements were prepared on the server.
func prepares(t *testing.T, s *Store) int {
	t.Helper()
	var (
		name string
		n    int
	)
	require.NoError(t, s.leases.QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Com_stmt_prepare'").Scan(&name, &n))
	return n
}

// I4: an older event does not set a row back, also not as one of many.
func TestI4ManyOldEventsChangeNothing(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	exec(t, look, "SET SESSION group_concat_max_len=1<<30")
	term := acquire(t, s, 0)
	newer := many(1001, 500)
	commit(t, s, &term, newer...)
	was := one[string](t, look, allOfSteps)
	exec(t, look, "UPDATE persistd_partitions SET position=0")
	older := many(1, 500)
	for i := range older {
		older[i].Ops[0].State, older[i].Ops[0].NodeID = []byte(`"older"`), "older"
	}
	term.Position = 0
	commit(t, s, &term, older...)
	require.Equal(t, was, one[string](t, look, allOfSteps))
}

// A server that has no room for prepared statements, or a proxy that takes none, is no reason to wait.
func TestAServerThatPreparesNothingIsSentText(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	exec(t, plain(t, server.DSN("")), "SET GLOBAL max_prepared_stmt_count=0")
	term := acquire(t, s, 0)
	commit(t, s, &term, many(1, 500)...)
	require.Equal(t, 500, one[int](t, plain(t, dsn), "SELECT COUNT(*) FROM workflow_steps"))
}

// MariaDB checks nothing that ingest has checked; what ingest let pass although MariaDB does not take it, it still refuses, and by name.
func TestI7AStateTooDeepForTheServerIsFoundAmongMany(t *testing.T) {
	t.Parallel()
	if stacktest.Engine(t) != devstack.MariaDB {
		t.Log("MySQL takes what ingest does")
	}
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	events := many(1, 300)
	deep := decoded(save(301, "deep", 1, strings.Repeat("[", 40)+strings.Repeat("]", 40)))
	err := s.Commit(t.Context(), batch(term, append(events, deep)...))
	if stacktest.Engine(t) == devstack.MySQL {
		require.NoError(t, err)
		return
	}
	requireClass(t, batcher.Refused, err)
	require.Contains(t, Classify(err).Refused, uint64(301))
	require.Len(t, Classify(err).Refused, 1)
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps"))
}

// How many statements a batch takes, at most.
func TestABatchTakesFewStatements(t *testing.T) {
	t.Parallel()
	_, dsn, _ := ready(t)
	s := open(t, dsn, func(c *Config) { c.Owner, c.Writers = "two", 1 })
	require.NoError(t, s.Register(t.Context(), testLog))
	term := acquire(t, s, 0)
	seq := uint64(0)
	for _, tt := range []struct{ rows, bytes, most int }{
		{1, 100, 4}, {39, 100, 4}, {1000, 10, 4}, {1000, 1000, 8}, {400, 10_000, 52}, {100, 32 << 10, 52},
	} {
		var events []wire.Event
		for i := range tt.rows {
			seq++
			events = append(events, decoded(save(seq, fmt.Sprint("run ", seq), int32(i), `"`+strings.Repeat("x", tt.bytes)+`"`)))
		}
		commit(t, s, &term, events...) // statements are prepared, once
		s.runs.mu.Lock()
		s.runs.asked[0] = time.Now().Add(time.Hour)
		s.runs.mu.Unlock()
		for i := range events {
			seq++
			events[i].Message.Sequence = seq
		}
		from := questions(t, s)
		commit(t, s, &term, events...)
		require.LessOrEqual(t, questions(t, s)-from-1, tt.most, "%d rows of %d bytes", tt.rows, tt.bytes)
	}
}

// What MariaDB need not check again is JSON, and not what an operator wants of the rows, or of those that his triggers write.
func TestI7ACheckOfTheOperatorsHoldsAmongMany(t *testing.T) {
	t.Parallel()
	for name, own := range map[string][]string{
		"of a step":               {"ALTER TABLE workflow_steps ADD CONSTRAINT own CHECK (step < 5000)"},
		"of a state, and is JSON": {"ALTER TABLE workflow_steps ADD CONSTRAINT own CHECK (json_valid(state) AND json_type(state) IN ('OBJECT','ARRAY'))"},
		"of a node, that is JSON": {"ALTER TABLE workflow_steps ADD CONSTRAINT own CHECK (json_valid(node_id))"},
		"of a trigger's table": {
			"CREATE TABLE audit (step INT CHECK (step < 5000))",
			"CREATE TRIGGER own AFTER INSERT ON workflow_steps FOR EACH ROW INSERT INTO audit VALUES (NEW.step)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			for _, q := range own {
				exec(t, look, q)
			}
			term, events := acquire(t, s, 0), many(1, 300)
			for i := range events {
				events[i].Ops[0].NodeID, events[i].Ops[0].State = "1", []byte("{}")
			}
			err := s.Commit(t.Context(), batch(term, append(events, decoded(save(301, "forbidden", 5000, "1")))...))
			requireClass(t, batcher.Refused, err)
			require.Contains(t, Classify(err).Refused, uint64(301))
			require.Len(t, Classify(err).Refused, 1)
		})
	}
}

// What the values of a row allocate the collector has to look at, for each step: its state, its place, and its time, once.
func TestARowOfTheSameRunAsTheOneBeforeTakesFourAllocations(t *testing.T) { //nolint:paralleltest // it counts allocations.
	ev := save(1_000_000, "run-0001", 17, `{"n":1}`)
	x := row{&ev, &ev.Ops[0]}
	before, to := make([]driver.NamedValue, bulkSteps.columns), make([]driver.NamedValue, bulkSteps.columns)
	stepValues(before, nil, x, place{1, 999_999})
	require.EqualValues(t, 4, testing.AllocsPerRun(100, func() { stepValues(to, before, x, place{1, 1_000_000}) }))

	other := save(2, "run-0002", 18, `{"n":2}`)
	other.Ops[0].NodeID = "other"
	stepValues(to, before, row{&other, &other.Ops[0]}, place{1, 2})
	require.Equal(t, []any{"run-0002", int64(18), "other", []byte(`{"n":2}`)}, []any{to[0].Value, to[1].Value, to[2].Value, to[3].Value})
}
