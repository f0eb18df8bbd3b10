package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

const (
	benchSteps       = 40_000
	benchConnections = 4
	benchRows        = 1000 // of one statement, as a batch has
)

// BenchmarkDrain drains a log of 1 KiB steps into the database, and beside it, alternately, inserts the same rows with raw multi-row
// INSERT statements, whose text is made beforehand, on as many connections. What counts is the ratio: 1.00 would be as fast as the
// database takes rows at all. Client, nats-server, daemon and database share the machine.
func BenchmarkDrain(b *testing.B) {
	server, err := devstack.StartDatabase(b.Context(), devstack.DatabaseOptions{Engine: stacktest.Engine(b), Dir: b.TempDir()})
	require.NoError(b, err)
	b.Cleanup(server.Kill)
	require.NoError(b, createDatabase(b.Context(), server.DSN("")))
	s := newStack(b, stacktest.NATS(b).URL(), server.DSN(devDatabase))
	quiet := []string{"PERSISTD_LOG_LEVEL=error", "PERSISTD_STREAM_MAX_BYTES=4GiB", fmt.Sprintf("PERSISTD_MYSQL_WRITERS=%d", benchConnections)}
	require.NoError(b, s.serveHere(hooks{}, quiet...).stop()) // makes the log and the tables
	steps := makeBenchSteps()
	inserts := rawInserts(steps)

	var drained, raw, ratios []float64
	for round := 0; b.Loop(); round++ {
		first, second := &drained, &raw
		measure := []func() float64{func() float64 { return s.drain(b, steps, quiet) }, func() float64 { return s.insertRaw(b, inserts) }}
		if round%2 == 1 { // whoever goes first finds another machine than who goes second
			first, second = second, first
			slices.Reverse(measure)
		}
		*first = append(*first, measure[0]())
		*second = append(*second, measure[1]())
		ratios = append(ratios, drained[round]/raw[round])
	}
	b.ReportMetric(0, "ns/op") // a round's length means nothing
	b.ReportMetric(median(drained), "steps/s")
	b.ReportMetric(median(raw), "raw-rows/s")
	b.ReportMetric(median(ratios), "ratio")
}

// BenchmarkDrainBesideReads drains a backlog of small steps undisturbed and, alternately, while four readers read its runs as fast as they can:
// the ratio is of the two rates. All of it shares the machine, so part of what the readers cost is theirs alone.
func BenchmarkDrainBesideReads(b *testing.B) {
	const events, runs = 100_000, 200
	s := newStack(b, stacktest.NATS(b).URL(), stacktest.Database(b))
	quiet := []string{"PERSISTD_LOG_LEVEL=error", "PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=100ms"}
	require.NoError(b, s.serveHere(hooks{}, quiet...).stop())
	drain := func(readers bool) float64 {
		s.truncate(b)
		s.publishBacklog(events, runs)
		d := s.serveHere(hooks{}, quiet...)
		reading, stop := context.WithCancel(b.Context())
		defer stop()
		var reads *backlogReaders
		if readers {
			reads = s.readBacklog(reading, events, runs)
		}
		for s.committedEvents(b, d) < events {
			<-time.After(5 * time.Millisecond)
		}
		took := time.Since(d.upAt)
		stop()
		if readers {
			require.NoError(b, reads.Wait(), "every read is right")
			b.ReportMetric(float64(reads.n.Load())/took.Seconds(), "reads/s")
		}
		require.NoError(b, d.stop())
		return events / took.Seconds()
	}
	var alone, beside, ratios []float64
	for round := 0; b.Loop(); round++ {
		order := []bool{false, true}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, readers := range order {
			if rate := drain(readers); readers {
				beside = append(beside, rate)
			} else {
				alone = append(alone, rate)
			}
		}
		ratios = append(ratios, beside[round]/alone[round])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(alone), "alone-steps/s")
	b.ReportMetric(median(beside), "beside-steps/s")
	b.ReportMetric(median(ratios), "ratio")
}

type benchStep struct {
	run  string
	body []byte
	row  string // as a VALUES tuple
}

// makeBenchSteps makes steps of 1 KiB of state, of many runs.
func makeBenchSteps() []benchStep {
	rng := rand.New(rand.NewPCG(1, 2))
	steps := make([]benchStep, benchSteps)
	for i := range steps {
		filler := make([]byte, 960)
		for j := range filler {
			filler[j] = "abcdefghijklmnopqrstuvwxyz0123456789 "[rng.IntN(37)]
		}
		state, _ := json.Marshal(map[string]any{"n": i, "text": string(filler), "ok": true}) //nolint:errchkjson // plain values.
		run, step := fmt.Sprintf("run-%05d", i%2000), i/2000
		steps[i] = benchStep{
			run: run, body: wire.AppendEvent(nil, wire.KindRun, run, 0, nil, []wire.Op{{Type: wire.OpStep, Step: int32(step), NodeID: "node", State: state}}),
			row: fmt.Sprintf("('%s',%d,'node','%s',NOW(6),%d,1)", run, step, state, i+1),
		}
	}
	return steps
}

func rawInserts(steps []benchStep) []string {
	var statements []string
	for chunk := range slices.Chunk(steps, benchRows) {
		var q strings.Builder
		q.WriteString("INSERT INTO workflow_steps (run_id, step, node_id, state, created_at, log_seq, log_gen) VALUES ")
		for i, st := range chunk {
			if i > 0 {
				q.WriteByte(',')
			}
			q.WriteString(st.row)
		}
		statements = append(statements, q.String())
	}
	return statements
}

// drain fills the log while no daemon runs, and measures a daemon from its start until all is committed, in steps per second.
func (s *stack) drain(b *testing.B, steps []benchStep, settings []string) float64 {
	b.Helper()
	s.truncate(b)
	subjects := wire.Subjects{Prefix: "persistd"}
	for i, st := range steps {
		_, err := s.js.PublishMsgAsync(&nats.Msg{Subject: subjects.Write(wire.DefaultNamespace, wire.KindRun, st.run), Data: st.body})
		require.NoError(b, err)
		if i%1000 == 999 {
			<-s.js.PublishAsyncComplete()
		}
	}
	d := s.serveHere(hooks{}, settings...)
	for s.committedEvents(b, d) < len(steps) {
		<-time.After(5 * time.Millisecond)
	}
	took := time.Since(d.upAt)
	require.NoError(b, d.stop())
	require.Equal(b, len(steps), s.rows("TRUE"))
	return float64(len(steps)) / took.Seconds()
}

// committedEvents is how many events the daemon has committed, by its own metric.
func (s *stack) committedEvents(b *testing.B, d *inProcess) int {
	b.Helper()
	families, err := d.reg.Gather()
	require.NoError(b, err)
	for _, f := range families {
		if f.GetName() == "persistd_events_committed_total" {
			return int(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return 0
}

func (s *stack) insertRaw(b *testing.B, statements []string) float64 {
	b.Helper()
	s.truncate(b)
	var conns []*sql.Conn
	for range benchConnections {
		c, err := s.db.Conn(b.Context())
		require.NoError(b, err)
		defer c.Close()
		conns = append(conns, c)
	}
	queue := make(chan string, len(statements))
	for _, q := range statements {
		queue <- q
	}
	close(queue)
	begin := time.Now()
	g, ctx := errgroup.WithContext(context.Background())
	for _, c := range conns {
		g.Go(func() error {
			for q := range queue {
				if _, err := c.ExecContext(ctx, q); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(b, g.Wait())
	return benchSteps / time.Since(begin).Seconds()
}

func (s *stack) truncate(b *testing.B) {
	b.Helper()
	_, err := s.db.ExecContext(b.Context(), "TRUNCATE TABLE workflow_steps")
	require.NoError(b, err)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
