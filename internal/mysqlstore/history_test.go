package mysqlstore

import (
	"database/sql"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// putStep writes a row of workflow_steps as it is given.
func putStep(t testing.TB, db *sql.DB, run string, step int, state string, attempt, gen, seq int) {
	t.Helper()
	exec(t, db, "REPLACE INTO workflow_steps (run_id, step, node_id, state, attempt, log_gen, log_seq) VALUES (?, ?, ?, ?, ?, ?, ?)",
		run, step, fmt.Sprint("node", step), []byte(state), attempt, gen, seq)
}

// putRun writes what is known of a run's attempts.
func putRun(t testing.TB, db *sql.DB, run string, attempt, latest int) {
	t.Helper()
	exec(t, db, "REPLACE INTO persistd_runs (run_id, attempt, latest_attempt, updated_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))", run, attempt, latest)
}

// long is a state of about n bytes.
func long(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

// counting is a store on dsn whose reads are all in one session, in which cost counts the rows that a read reads.
func counting(t testing.TB, dsn string) (s *Store, cost func(read func()) map[string]int) {
	t.Helper()
	s = open(t, dsn, func(c *Config) { c.Readers = 1 })
	require.NoError(t, s.Register(t.Context(), testLog))
	status := func() map[string]int {
		rows, err := s.readers.QueryContext(t.Context(), "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%' OR"+
			" Variable_name IN ('Created_tmp_disk_tables', 'Sort_rows')")
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		all := map[string]int{}
		for rows.Next() {
			var (
				name string
				n    int
			)
			require.NoError(t, rows.Scan(&name, &n))
			all[name] = n
		}
		require.NoError(t, rows.Err())
		return all
	}
	return s, func(read func()) map[string]int {
		read() // whatever the first one costs
		was, again := status(), status()
		read()
		is := status()
		for name := range is {
			is[name] = is[name] - again[name] - (again[name] - was[name]) // without that of asking
		}
		return is
	}
}

// rowsOf is how many rows a read looked at, by key or one after the other.
func looked(cost map[string]int) (n int) {
	for name, c := range cost {
		if strings.HasPrefix(name, "Handler_read") {
			n += c
		}
	}
	return n
}

func steps(page wire.StepsReply) (all []int) {
	for _, s := range page.Steps {
		all = append(all, int(s.Step))
	}
	return all
}

func TestStepsAreReadByNumberOfAllAttempts(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for _, step := range []int{math.MaxInt32, 3, -2, 7, math.MinInt32, 0} {
		putStep(t, look, "run", step, fmt.Sprintf(`{"step": %d}`, step), max(0, step%3), 1, 100)
	}
	putStep(t, look, "Run", 1, `1`, 0, 1, 1)
	exec(t, look, "UPDATE workflow_steps SET log_gen=7 WHERE step=3")
	exec(t, look, "UPDATE workflow_steps SET created_at='2020-02-02 02:02:02.000002' WHERE step=7")

	page, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run", From: math.MinInt32})
	require.NoError(t, err)
	require.Equal(t, []int{math.MinInt32, -2, 0, 3, 7, math.MaxInt32}, steps(page))
	require.Nil(t, page.Next)
	got := page.Steps[4]
	require.JSONEq(t, `{"step": 7}`, string(got.State))
	require.Equal(t, "node7", got.NodeID)
	require.EqualValues(t, 1, got.Attempt)
	require.EqualValues(t, 100, got.Sequence)
	require.Equal(t, "2020-02-02T02:02:02.000002Z", got.SavedAt.Format("2006-01-02T15:04:05.999999999Z07:00"))
	require.Zero(t, page.Steps[3].Sequence, "another log's sequence says nothing about this one's")

	page, err = s.Steps(t.Context(), wire.StepsRequest{RunID: "run", From: -1, Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []int{0, 3}, steps(page))
	require.EqualValues(t, 4, *page.Next)
	page, err = s.Steps(t.Context(), wire.StepsRequest{RunID: "run", From: math.MaxInt32, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []int{math.MaxInt32}, steps(page))
	require.Nil(t, page.Next, "there is no number after it")
	page, err = s.Steps(t.Context(), wire.StepsRequest{RunID: "nobody"})
	require.NoError(t, err)
	require.Empty(t, page)
}

func TestStepsReadNoMoreRowsThanTheyReturn(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	for i := range 300 {
		putStep(t, look, fmt.Sprint("run", i%3), i, `1`, 0, 1, i+1)
	}
	s, cost := counting(t, dsn)
	c := cost(func() {
		page, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run1", From: 100, Limit: 10})
		require.NoError(t, err)
		require.Len(t, page.Steps, 10)
	})
	require.LessOrEqual(t, looked(c), 14, c)
	require.Zero(t, c["Sort_rows"])
	c = cost(func() {
		_, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run1", From: 154, Limit: 1})
		require.NoError(t, err)
	})
	require.LessOrEqual(t, looked(c), 2, c)
	exec(t, look, "DELETE FROM workflow_steps WHERE run_id<>'run1'")
	c = cost(func() { // also where there is nothing but one run
		_, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run1"})
		require.NoError(t, err)
	})
	require.Zero(t, c["Sort_rows"], "states are not sorted: MySQL's sort buffer takes only small ones")
}

// everything reads all changes after a cursor, page by page.
func everything(t *testing.T, s *Store, from int32, after readpath.Cursor) (all []string, last readpath.Cursor) {
	t.Helper()
	for last = after; ; {
		changes, err := s.Changes(t.Context(), "run", from, last)
		require.NoError(t, err)
		if len(changes) == 0 {
			return all, last
		}
		for _, c := range changes {
			require.Equal(t, c.At.Step, c.Step.Step)
			all = append(all, fmt.Sprint(c.Step.Step, "=", string(c.Step.State)))
			last = c.At
		}
	}
}

var beginning = readpath.Cursor{Step: math.MinInt32}

func TestChangesComeInTheOrderInWhichTheyWereWritten(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	putStep(t, look, "run", 5, `"e"`, 0, 1, 10)
	putStep(t, look, "run", 3, `"c"`, 0, 1, 11)
	putStep(t, look, "run", 2, `"b"`, 0, 1, 12)
	putStep(t, look, "run", 4, `"d"`, 0, 1, 12)
	putStep(t, look, "run", 1, `"a"`, 0, 2, 1) // of a later log
	putStep(t, look, "run", 9, `"foreign"`, 0, 0, 0)
	putStep(t, look, "run", -9, `"foreign"`, 0, 0, 0)
	putStep(t, look, "other", 6, `1`, 0, 1, 10)

	all, last := everything(t, s, math.MinInt32, beginning)
	require.Equal(t, []string{`-9="foreign"`, `9="foreign"`, `5="e"`, `3="c"`, `2="b"`, `4="d"`, `1="a"`}, all)
	require.Equal(t, readpath.Cursor{Generation: 2, Sequence: 1, Step: 1}, last)
	all, _ = everything(t, s, 3, beginning)
	require.Equal(t, []string{`9="foreign"`, `5="e"`, `3="c"`, `4="d"`}, all)
	all, _ = everything(t, s, 0, readpath.Cursor{Generation: 1, Sequence: 12, Step: 2})
	require.Equal(t, []string{`4="d"`, `1="a"`}, all)

	all, _ = everything(t, s, 0, last)
	require.Empty(t, all)
	putStep(t, look, "run", 5, `"e again"`, 1, 2, 7)
	all, _ = everything(t, s, 0, last)
	require.Equal(t, []string{`5="e again"`}, all)
}

func TestManyLargeChangesComeInPages(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	var want []string
	for i := range 12 {
		step := (i * 5) % 12
		putStep(t, look, "run", step, long(pageBytes/3), 0, 1, i+1)
		want = append(want, fmt.Sprint(step, "=", long(pageBytes/3)))
	}
	all, _ := everything(t, s, 0, beginning)
	require.Equal(t, want, all)
	changes, err := s.Changes(t.Context(), "run", 0, readpath.Cursor{Generation: 1, Sequence: 11, Step: 99})
	require.NoError(t, err)
	require.Len(t, changes, 1)
}

func TestChangesLookAtTheRowsOfTheRunAndReadTheStatesOfThoseThatChanged(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	for i := range 1000 {
		putStep(t, look, fmt.Sprint("run", i%10), i, `1`, 0, 1, i+1)
	}
	s, cost := counting(t, dsn)
	c := cost(func() {
		changes, err := s.Changes(t.Context(), "run1", 0, readpath.Cursor{Generation: 1, Sequence: 991, Step: math.MaxInt32})
		require.NoError(t, err)
		require.Len(t, changes, 1)
	})
	require.LessOrEqual(t, looked(c), 106, c)
}
