package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// backup keeps what every table holds; restore brings that back, in one transaction, as a restored server has it.
func (s *stack) backup() (restore func()) {
	s.t.Helper()
	var tables []string
	rows, err := s.db.QueryContext(s.t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema=DATABASE()"+
		" AND table_name NOT LIKE '%_schema_%' AND table_name NOT LIKE 'backup%'")
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, rows.Close()) }()
	for rows.Next() {
		var name string
		require.NoError(s.t, rows.Scan(&name))
		tables = append(tables, name)
	}
	require.NoError(s.t, rows.Err())
	for _, t := range tables {
		s.exec("DROP TABLE IF EXISTS backup_" + t)
		s.exec("CREATE TABLE backup_" + t + " AS SELECT * FROM " + t)
	}
	return func() {
		s.t.Helper()
		tx, err := s.db.BeginTx(s.t.Context(), nil)
		require.NoError(s.t, err)
		defer func() { _ = tx.Rollback() }() // does nothing once committed
		for _, t := range tables {
			for _, q := range []string{"DELETE FROM " + t, "INSERT INTO " + t + " SELECT * FROM backup_" + t} {
				_, err := tx.ExecContext(s.t.Context(), q)
				require.NoError(s.t, err, q)
			}
		}
		require.NoError(s.t, tx.Commit())
	}
}

// byTable keeps every table as a dump made with --replace has it: between the making of a table and its lock a running daemon may write to it, as it
// says that it is there. restore drops and makes each again in the order of their names; at is called before each.
func (s *stack) byTable() (restore func(at func(table string))) {
	s.t.Helper()
	s.backup()
	type kept struct{ name, create string }
	var all []kept
	rows, err := s.db.QueryContext(s.t.Context(), "SELECT SUBSTR(table_name, 8) FROM information_schema.tables WHERE table_schema=DATABASE()"+
		" AND table_name LIKE 'backup%' ORDER BY table_name")
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, rows.Close()) }()
	for rows.Next() {
		var k kept
		require.NoError(s.t, rows.Scan(&k.name))
		require.NoError(s.t, s.db.QueryRowContext(s.t.Context(), "SHOW CREATE TABLE "+k.name).Scan(new(string), &k.create))
		all = append(all, k)
	}
	require.NoError(s.t, rows.Err())
	return func(at func(string)) {
		s.t.Helper()
		for _, k := range all {
			at(k.name)
			conn, err := s.db.Conn(s.t.Context())
			require.NoError(s.t, err)
			for _, q := range []string{
				"DROP TABLE " + k.name, k.create, "LOCK TABLES " + k.name + " WRITE, backup_" + k.name + " READ",
				"REPLACE INTO " + k.name + " SELECT * FROM backup_" + k.name, "UNLOCK TABLES",
			} {
				_, err := conn.ExecContext(s.t.Context(), q)
				require.NoError(s.t, err, q)
			}
			require.NoError(s.t, conn.Close())
		}
	}
}

// untilAppliedMeanwhile takes a dump by table and restores it, until an event of run was applied while it was loaded: after its positions, and before
// the rows, so that it went where it is lost. That takes that no daemon looked at the tables in between, as each does every two seconds; one
// that did waits for the end. It returns the event's node id. since is called when the dump is taken, applied when the event was applied,
// before the next table, and end before the last table, when all daemons wait.
func (s *stack) untilAppliedMeanwhile(run string, daemons []*child, since func(round int), applied, end func()) (node string) {
	s.t.Helper()
	const noticed = "database is being restored: waiting for all of its tables"
	for round := range 20 {
		for _, d := range daemons {
			s.eventually("the round before is over", func() bool { return d.notReadyFor("restore") == "" })
		}
		s.matchesLog()
		restore, dumped := s.byTable(), time.Now()
		since(round)
		s.matchesLog()
		s.eventually("the dump is some seconds old", func() bool { return time.Since(dumped) > 2*time.Second })
		before := map[*child]int{}
		for _, d := range daemons {
			before[d] = d.times(noticed)
		}
		all := func() bool {
			return !slices.ContainsFunc(daemons, func(d *child) bool { return d.times(noticed) == before[d] })
		}
		done := false
		restore(func(table string) {
			switch table {
			case "persistd_runs": // the positions are there by now
				node = fmt.Sprintf("meanwhile-%d", round)
				s.publish(run, fmt.Sprintf(`{"step":7,"node_id":%q,"state":{}}`, node))
				s.eventually("it is applied, or all wait", func() bool {
					done = s.rows("node_id=?", node) == 1
					return done || all()
				})
				if done {
					applied()
				}
			case "workflow_steps": // the last one
				s.eventually("all wait", all)
				if done {
					end()
				}
			}
		})
		if done {
			return node
		}
	}
	require.FailNow(s.t, "the daemons always look at the tables before anything is applied")
	return ""
}

// recover runs the command and returns what it says.
func (s *stack) recover(args ...string) string {
	s.t.Helper()
	said, _ := s.recovers(args...)
	return said
}

// recovers runs the command, which can look, and returns what it says and how it exits.
func (s *stack) recovers(args ...string) (said string, code int) {
	s.t.Helper()
	env := s.settings()
	var out bytes.Buffer
	err := run(s.t.Context(), append([]string{"recover"}, args...), func(k string) (string, bool) { v, ok := env[k]; return v, ok }, &out, &out)
	if err == nil {
		return out.String(), 0
	}
	require.ErrorContains(s.t, err, "that nobody has mended or accepted", out.String())
	return out.String(), exitCode(err)
}

// found are the kinds of what the command finds wrong.
func (s *stack) found() map[string]int {
	s.t.Helper()
	var d diagnosis
	said, code := s.recovers("-o", "json")
	require.NoError(s.t, json.Unmarshal([]byte(said), &d))
	require.Equal(s.t, d.waiting() > 0, code == 1, "what waits for somebody is in the exit code")
	kinds := map[string]int{}
	for _, f := range d.Findings {
		kinds[f.Kind]++
	}
	return kinds
}

// trimmed waits until the log holds no event.
func (s *stack) trimmed() {
	s.t.Helper()
	s.eventually("log is trimmed", func() bool { return s.events() == 0 })
}

// marks are the log's marks, as the newest daemon wrote them.
func (s *stack) mark(partition int) (m stream.Mark) {
	s.t.Helper()
	st, err := s.js.Stream(s.t.Context(), "PERSISTD_MARKS")
	require.NoError(s.t, err)
	msg, err := st.GetLastMsgForSubject(s.t.Context(), stackSubjects.MarkPartition(partition))
	if err != nil {
		return m
	}
	require.NoError(s.t, json.Unmarshal(msg.Data, &m))
	return m
}

var stackSubjects = wire.Subjects{Prefix: "persistd"}

// answers waits until a server that was started again serves the log.
func (s *stack) answers() {
	s.t.Helper()
	s.eventually("server is back", func() bool { _, err := s.js.Stream(s.t.Context(), "PERSISTD"); return err == nil })
}

// caughtUp waits until the database has all that the log holds.
func (s *stack) caughtUp() {
	s.t.Helper()
	last := map[int]uint64{}
	for _, ev := range s.log() {
		last[ev.Partition] = ev.Message.Sequence
	}
	s.reached(last)
}
