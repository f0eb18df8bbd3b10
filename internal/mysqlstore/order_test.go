package mysqlstore

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

type stepRow struct {
	node, state string
	created     time.Time
	seq, gen    uint64
}

func readRow(t testing.TB, db *sql.DB, run string, step int) (r stepRow) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT node_id, state, created_at, log_seq, log_gen FROM workflow_steps"+
		" WHERE run_id=? AND step=?", run, step).Scan(&r.node, &r.state, &r.created, &r.seq, &r.gen))
	return r
}

func TestI4AnOlderSequenceNeverOverwritesANewerOne(t *testing.T) {
	t.Parallel()
	tables := []struct{ name, insert, read string }{
		{
			"workflow_steps", "(run_id, step, node_id, state, attempt, updated_at, created_at, log_seq, log_gen)" +
				" VALUES ('run', 1, 'there', '\"there\"', 1, '2020-01-01', ",
			"CONCAT_WS(' ', node_id, state, attempt, DATE(updated_at))",
		},
		{
			"workflow_checkpoints", "(checkpoint_id, step, state, updated_at, created_at, log_seq, log_gen) VALUES ('cp', 9, '\"there\"', '2020-01-01', ",
			"CONCAT_WS(' ', step, state, DATE(updated_at))",
		},
		{
			"workflow_checkpoints_v2", "(run_id, step_id, state, frontier, recorded_ios, rng_seed, label, idempotency_key, timestamp, attempt, created_at," +
				" log_seq, log_gen) VALUES ('run', 1, '\"there\"', '1', '2', 3, 'there', 'there', '2020-01-01', 1, ",
			"CONCAT_WS(' ', state, frontier, recorded_ios, rng_seed, label, idempotency_key, DATE(timestamp), attempt)",
		},
	}
	there := []string{`there "there" 1 2020-01-01`, `9 "there" 2020-01-01`, `"there" 1 2 3 there there 2020-01-01 1`}
	saved := []string{`node "new" 2 2026-02-03`, `5 "new" 2026-02-03`, `"new" null null 0  key 2026-02-03 2`}
	for _, tt := range []struct {
		name     string
		gen, seq uint64 // of the row that is there
		wins     bool   // whether sequence 100 of generation 2 overwrites it
	}{
		{"an older sequence of the same generation", 2, 99, true},
		{"the same event, replayed", 2, 100, true},
		{"a newer sequence of the same generation", 2, 101, false},
		{"an older generation with a smaller sequence", 1, 1, true},
		{"an older generation with a larger sequence", 1, 1_000_000, true},
		{"a newer generation with a smaller sequence", 3, 1, false},
		{"a newer generation with the same sequence", 3, 100, false},
		{"a newer generation with a larger sequence", 3, 101, false},
		{"a row that LangGraph-Go wrote", 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			again := testLog
			again.Created = created.Add(time.Hour)
			require.NoError(t, s.Register(t.Context(), again)) // generation 2
			for _, table := range tables {
				exec(t, look, "INSERT INTO "+table.name+" "+table.insert+"'2020-01-01 00:00:00.000001', ?, ?)", tt.seq, tt.gen)
			}
			term := acquire(t, s, 0)
			commit(t, s, &term, attemptOf(2, eventOf(100, "run", stepOp(1, `"new"`), checkpointOp("cp", 5, `"new"`), v2Op(1, "key", `"new"`))))

			want, seq, gen := there, tt.seq, tt.gen
			if tt.wins {
				want, seq, gen = saved, 100, 2
			}
			for i, table := range tables {
				require.Equal(t, want[i], one[string](t, look, "SELECT "+table.read+" FROM "+table.name))
				require.Equal(t, fmt.Sprint(seq, " ", gen, " 00:00:00.000001"), one[string](t, look,
					"SELECT CONCAT_WS(' ', log_seq, log_gen, TIME(created_at)) FROM "+table.name), "created_at is the first save's, always")
			}
			require.EqualValues(t, 100, position(t, s, 0))
		})
	}
}

func TestI4AReplayEndsWhereItWas(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "run", 1, `1`))
	commit(t, s, &term, save(2, "run", 1, `2`), save(3, "run", 2, `3`))
	// The position alone is restored, and the log is applied again in other batches.
	_, err := look.ExecContext(t.Context(), "UPDATE persistd_partitions SET position=0")
	require.NoError(t, err)
	replay := partition.Term{Partition: 0, Epoch: term.Epoch}
	commit(t, s, &replay, save(1, "run", 1, `1`))
	require.Equal(t, "2", readRow(t, look, "run", 1).state, "in the middle of the replay too")
	commit(t, s, &replay, save(2, "run", 1, `2`), save(3, "run", 2, `3`))
	require.Equal(t, "2", readRow(t, look, "run", 1).state)
	require.Equal(t, "3", readRow(t, look, "run", 2).state)
}

func TestI4AStreamMadeAgainIsNewerThoughItCountsFromOne(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(500, "run", 1, `"old stream"`))

	later := open(t, dsn, owner("two"))
	again := testLog
	again.Created = created.Add(time.Microsecond)
	require.NoError(t, later.Register(t.Context(), again))
	fresh := acquire(t, later, 0)
	require.Zero(t, fresh.Position, "no event of the new stream is skipped")
	step, _, _, err := later.Latest(t.Context(), 0, "run")
	require.NoError(t, err)
	require.Zero(t, step.Sequence, "a sequence of another stream says nothing about this one's")
	commit(t, later, &fresh, save(1, "run", 1, `"new stream"`))
	commit(t, s, &term, save(501, "run", 1, `"straggler of the old stream"`))
	row := readRow(t, look, "run", 1)
	require.Equal(t, `"new stream"`, row.state)
	require.EqualValues(t, 1, row.seq)
	require.EqualValues(t, 2, row.gen)
}
