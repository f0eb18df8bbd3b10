package langgraphgo_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"
)

// The real thing: processes, a nats-server, a database.
func TestOnPersistd(t *testing.T) {
	t.Parallel()
	p := build(t)
	for name, run := range map[string]func(t *testing.T, p programs){
		"the contract holds": contractOnPersistd,
		"the engine runs":    engineOnPersistd,
		"a killed worker's run goes on after its last acknowledged step": killedWorker,
		"runs go on through killed workers and killed daemons":           killedAll,
		"a worker that was only thought dead is told":                    sleepingWorker,
		"the fleet of the example loses nothing":                         fleet,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, p)
		})
	}
}

func contractOnPersistd(t *testing.T, p programs) {
	st := newStack(t, p).open()
	contract(t, func(*testing.T) store.Store[state] { return st })
}

func engineOnPersistd(t *testing.T, p programs) {
	s := newStack(t, p)
	for name, run := range engineCases {
		t.Run(name, func(t *testing.T) { run(t, s.open(), t.Name()) })
	}
}

func killedWorker(t *testing.T, p programs) {
	const steps, held = 20, 8
	s := newStack(t, p)
	first := s.work(task{Run: "run", Steps: steps, HoldAt: held})
	require.NotEmpty(t, first.says("holds"), "it works on a step, with nothing on its way")
	first.kill()
	require.Equal(t, held-1, first.acked)

	second := s.work(task{Run: "run", Steps: steps})
	require.Equal(t, fmt.Sprintf("resumed %d", held-1), second.says("resumed", "acked"))
	require.Equal(t, fmt.Sprintf("done %d", steps), second.says("done"))
	require.NoError(t, second.ends())
	s.requireRun("run", steps)
}

func killedAll(t *testing.T, p programs) {
	const steps = 150
	s := newStack(t, p)
	for n, acked := 0, 0; ; n++ {
		require.Less(t, n, steps, "no worker makes any progress")
		w := s.work(task{Run: "run", Steps: steps, Pace: 2 * time.Millisecond})
		if acked > 0 {
			var from int
			_, err := fmt.Sscanf(w.says("resumed", "acked"), "resumed %d", &from)
			require.NoError(t, err)
			require.GreaterOrEqual(t, from, acked, "an acknowledged step is lost")
			require.LessOrEqual(t, from, acked+1, "at most the one that was on its way is there unacknowledged")
		}
		line := ""
		for left := 5 + rand.IntN(40); left > 0 && !strings.HasPrefix(line, "done"); left-- {
			line = w.says("acked", "done")
			require.NotEmpty(t, line, "the worker ended: %s", &w.log)
		}
		if strings.HasPrefix(line, "done") {
			break
		}
		if n%2 == 1 {
			s.daemon.kill()
		}
		w.kill()
		acked = max(acked, w.acked)
		if n%2 == 1 {
			s.serve()
		}
	}
	s.requireRun("run", steps)
}

func sleepingWorker(t *testing.T, p programs) {
	const steps = 40
	s := newStack(t, p)
	slow := s.work(task{Run: "run", Steps: steps, Pace: 200 * time.Millisecond}) // it is far from its end when it is stopped
	require.NotEmpty(t, slow.says("acked 5"))
	slow.signal(syscall.SIGSTOP)

	heir := s.work(task{Run: "run", Steps: steps})
	require.NotEmpty(t, heir.says("resumed"))
	require.Equal(t, fmt.Sprintf("done %d", steps), heir.says("done"))
	require.NoError(t, heir.ends())

	slow.signal(syscall.SIGCONT)
	require.Equal(t, "stale", slow.says("stale", "done"))
	require.NoError(t, slow.ends())
	s.requireRun("run", steps)
}

func fleet(t *testing.T, p programs) {
	s := newStack(t, p)
	c := start(t, []string{p.fleet, "--nats-url", s.url, "--workers", "6", "--for", "6s"})
	require.NotEmpty(t, c.says("lost 0"), "%s", &c.log)
	require.NoError(t, c.ends())
}

// requireRun checks that MySQL has the whole run, each step once and as it was worked out.
func (s *stack) requireRun(run string, steps int) {
	s.t.Helper()
	rows := s.rows(run, steps)
	require.Len(s.t, rows, steps)
	for i, row := range rows {
		require.Len(s.t, row.Done, i+1)
		for j, n := range row.Done {
			require.Equal(s.t, j+1, n)
		}
	}
}

// query is the states of a run by the number of their steps; none while the database has no table.
func (s *stack) query(run string) []state {
	s.t.Helper()
	db, err := sql.Open("mysql", s.dsn)
	require.NoError(s.t, err)
	defer db.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), eventually)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT state FROM workflow_steps WHERE run_id = ? ORDER BY step", run)
	if err != nil {
		return nil
	}
	defer rows.Close()
	var states []state
	for rows.Next() {
		var (
			text []byte
			row  state
		)
		require.NoError(s.t, rows.Scan(&text))
		require.NoError(s.t, json.Unmarshal(text, &row))
		states = append(states, row)
	}
	require.NoError(s.t, rows.Err())
	return states
}
