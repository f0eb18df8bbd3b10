package demo

import (
	"database/sql"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// steps are what the workers of these tests had acknowledged.
var steps = []struct {
	run   string
	step  int
	state string
}{
	{"demo/001/0", 1, `{"b": [1, 2.50],"a":"näher"}`},
	{"demo/001/0", 2, `{"n":2}`},
	{"demo/001/1", 1, `{"n":1}`},
	{"demo/002/0", 1, `null`},
}

// looseTable is a database whose workflow_steps has no key that would keep a step from being there twice.
func looseTable(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", stacktest.Database(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.EqualValues(t, -1, committed(t.Context(), db), "no table yet")
	_, err = db.ExecContext(t.Context(), "CREATE TABLE workflow_steps (run_id VARCHAR(255) NOT NULL, step INT NOT NULL, state JSON NOT NULL)"+
		" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	require.NoError(t, err)
	for _, s := range steps {
		_, err = db.ExecContext(t.Context(), "INSERT INTO workflow_steps VALUES (?,?,?)", s.run, s.step, s.state)
		require.NoError(t, err)
	}
	return db
}

func TestVerdictFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		tamper string
		tried  string // the state of demo/003/0, step 1, which was not acknowledged; empty for a step nobody tried
		want   Verdict
		clean  bool
	}{
		"nothing": {"", "", Verdict{Rows: 4}, true},
		"a step is lost": {
			"DELETE FROM workflow_steps WHERE run_id='demo/001/0' AND step=2", "", Verdict{Rows: 3, Lost: 1}, false,
		},
		"all steps are lost": {"DELETE FROM workflow_steps", "", Verdict{Lost: 4}, false},
		"a step is altered": {
			`UPDATE workflow_steps SET state='{"n":3}' WHERE run_id='demo/001/0' AND step=2`, "", Verdict{Rows: 4, Altered: 1}, false,
		},
		"two steps changed places": {
			`UPDATE workflow_steps SET step=3-step WHERE run_id='demo/001/0'`, "", Verdict{Rows: 4, Altered: 2}, false,
		},
		"a step is there twice": {
			`INSERT INTO workflow_steps VALUES ('demo/001/0',2,'{"n":2}')`, "", Verdict{Rows: 5, Doubled: 1}, false,
		},
		"a step is there twice, once altered": {
			`INSERT INTO workflow_steps VALUES ('demo/001/0',2,'{"n":3}')`, "", Verdict{Rows: 5, Doubled: 1}, false,
		},
		"a step is there that nobody saved": {
			`INSERT INTO workflow_steps VALUES ('demo/003/0',1,'{}')`, "", Verdict{Rows: 5, Unknown: 1}, false,
		},
		"a step is there whose worker was not told": {
			`INSERT INTO workflow_steps VALUES ('demo/003/0',1,'{"n":9}')`, `{"n":9}`, Verdict{Rows: 5, Unacknowledged: 1}, true,
		},
		"a step is there whose worker was not told, altered": {
			`INSERT INTO workflow_steps VALUES ('demo/003/0',1,'{"n":8}')`, `{"n":9}`, Verdict{Rows: 5, Unknown: 1}, false,
		},
		"a step is not there whose worker was not told": {"", `{"n":9}`, Verdict{Rows: 4}, true},
		"a step is somebody else's": {
			`INSERT INTO workflow_steps VALUES ('mine',1,'{}')`, "", Verdict{Rows: 4}, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := looseTable(t)
			l := newLedger(stacktest.Engine(t))
			for _, s := range steps {
				l.tried(s.run, s.step, []byte(s.state))
				l.saved(s.run, s.step, len(s.state))
			}
			if row.tried != "" {
				l.tried("demo/003/0", 1, []byte(row.tried))
			}
			if row.tamper != "" {
				_, err := db.ExecContext(t.Context(), row.tamper)
				require.NoError(t, err)
			}
			v, err := verify(t.Context(), db, l)
			require.NoError(t, err)
			require.Equal(t, row.want, v)
			require.Equal(t, row.clean, v.Clean())
		})
	}
}

func TestVerdictNeedsTheDatabase(t *testing.T) {
	t.Parallel()
	db := looseTable(t)
	_, err := db.ExecContext(t.Context(), "DROP TABLE workflow_steps")
	require.NoError(t, err)
	_, err = verify(t.Context(), db, newLedger(devstack.MariaDB))
	require.ErrorContains(t, err, "read workflow_steps")
}

func TestLedgerChecksWhatIsRead(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		engine devstack.Engine
		step   int
		state  string
		wrong  int64
	}{
		"the step that was acknowledged":      {devstack.MariaDB, 2, `{"b":1,"a":2}`, 0},
		"an older step":                       {devstack.MariaDB, 1, `{"n":1}`, 1},
		"another state":                       {devstack.MariaDB, 2, `{"b":1,"a":3}`, 1},
		"other bytes from MariaDB":            {devstack.MariaDB, 2, `{"a": 2, "b": 1}`, 1},
		"other bytes of one value from MySQL": {devstack.MySQL, 2, `{"a": 2, "b": 1}`, 0},
		"another value from MySQL":            {devstack.MySQL, 2, `{"a": 2, "b": 2}`, 1},
		"no JSON at all":                      {devstack.MySQL, 2, `{`, 1},
		"nothing":                             {devstack.MariaDB, 0, ``, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLedger(row.engine)
			l.tried("r", 1, []byte(`{"n":1}`))
			l.saved("r", 1, 7)
			l.tried("r", 2, []byte(`{"b":1,"a":2}`))
			l.saved("r", 2, 13)
			l.read("r", 2, row.step, []byte(row.state))
			require.Equal(t, row.wrong, l.wrongReads.Load())
			require.EqualValues(t, 1, l.reads.Load())
			require.EqualValues(t, 2, l.acknowledged.Load())
			require.EqualValues(t, 20, l.bytes.Load())
			require.Empty(t, l.maybe)
		})
	}
}
