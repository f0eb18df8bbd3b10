package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// The database takes nothing, and the log is full: publishers are told within their deadline, probes, status and metrics say so, reads are
// answered, nothing that was acknowledged goes; and when the database is back, all of it goes on by itself.
func TestAFullLogIsSeenToBeFullAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	s, g := sharedStack(t), newGate(t)
	d := s.serveHere(g.hooks(), "PERSISTD_STREAM_MAX_BYTES=64MiB", "PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=100ms")
	addr := d.admin.Addr().String()
	require.Contains(t, s.readyz(addr), "[+]room ok")
	var acked []json.RawMessage
	for {
		state := randomState(900_000)
		if err := s.publishStep(t.Context(), runNo(len(acked)), 0, state); err != nil {
			require.ErrorContains(t, err, "maximum bytes exceeded")
			break
		}
		acked = append(acked, state)
	}
	st := s.open(client.WithCompression(0), client.WithTimeout(2*time.Minute))
	next := randomState(900_000)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // in which the log answers, however busy the machine is
	defer cancel()
	require.ErrorIs(t, st.SaveStep(ctx, runNo(len(acked)), 0, "node", next), client.ErrLogFull)

	full := regexp.MustCompile(`\[-\]room failed: log is full: 6\d MiB of 64 MiB; events are refused until it is trimmed \(.*raise stream\.max_bytes`)
	s.eventually("probes say so", func() bool { return full.MatchString(s.readyz(addr)) })
	s.eventually("status says so", func() bool {
		return strings.Contains(strings.Join(s.statuses(1)[0].NotReady, "\n"), "room: log is full")
	})
	s.eventually("metrics say so", func() bool {
		m := s.metrics(d)
		return m["persistd_log_bytes"] > 0.9*m["persistd_log_max_bytes"] && m["persistd_log_events"] == float64(len(acked))
	})
	s.eventually("what is not in MySQL is counted", func() bool {
		lag := 0
		for p := range d.stream.Partitions() {
			lag += s.lagOf(d, p)
		}
		return lag == len(acked)
	})
	state, _, err := st.LoadLatest(t.Context(), runNo(1))
	require.NoError(t, err, "reads are answered")
	require.JSONEq(t, string(acked[1]), string(state))

	saved := make(chan error, 1)
	go func() {
		saved <- st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), runNo(len(acked)), 0, "node", next)
	}()
	g.open()
	require.NoError(t, <-saved, "the log takes steps again")
	acked = append(acked, next)
	s.eventually("the replica is ready again", func() bool { return strings.Contains(s.readyz(addr), "readyz check passed") })
	s.eventually("metrics say so", func() bool { return s.metrics(d)["persistd_log_bytes"] < 10<<20 })
	got := s.table()
	require.Len(t, got, len(acked))
	for i, want := range acked {
		require.True(t, sameJSON(string(want), got[rowKey{runNo(i), 0}].State), "acknowledged step of %s", runNo(i))
	}
}

func runNo(i int) string { return fmt.Sprintf("run-%d", i) }

// lagOf is how many events a daemon says a partition is behind by.
func (s *stack) lagOf(d *inProcess, p int) int {
	return int(s.metrics(d)[fmt.Sprintf(`persistd_lag_events{partition="%d"}`, p)])
}

// A commit of one partition hangs: its lag grows and is seen, its runs are read as they are, and the other partitions go on.
func TestAPartitionThatHangsHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	const partitions, runs, steps = 4, 24, 20
	d := s.serveHere(hooks{}, fmt.Sprintf("PERSISTD_STREAM_PARTITIONS=%d", partitions), "PERSISTD_BATCH_ROWS=10")
	s.ownedBy("test")
	hung := wire.Partition(wire.DefaultNamespace, "run-0", partitions)
	release := s.lockPartition(hung)
	behind, last := 0, map[int]uint64{}
	for step := range steps {
		for r := range runs {
			run := fmt.Sprintf("run-%d", r)
			seq := s.publish(run, fmt.Sprintf(`{"step":%d,"node_id":"n","state":{"v":%d}}`, step, r))
			if p := wire.Partition(wire.DefaultNamespace, run, partitions); p == hung {
				behind++
			} else {
				last[p] = seq
			}
		}
	}
	require.NotEmpty(t, last)
	s.reached(last)
	s.eventually("its lag is seen", func() bool { return s.lagOf(d, hung) == behind })
	s.eventually("its age, too", func() bool {
		return s.metrics(d)[fmt.Sprintf(`persistd_lag_seconds{partition="%d"}`, hung)] > 0
	})
	st := s.open()
	for r := range runs {
		state, step, err := st.LoadLatest(t.Context(), fmt.Sprintf("run-%d", r))
		require.NoError(t, err)
		require.Equal(t, steps-1, step)
		require.JSONEq(t, fmt.Sprintf(`{"v":%d}`, r), string(state))
	}
	s.eventually("it hangs still", func() bool { return s.lagOf(d, hung) == behind }) // what is read and queued meanwhile is counted in two places
	release()
	s.matchesLog()
	require.NoError(t, d.stop())
}

// backlogVariable is how many events the backlog of the test has; 20,000 without it.
const backlogVariable = "PERSISTD_BACKLOG"

// After an outage a long backlog is drained, and while it is every read is right.
func TestABacklogIsDrainedWhileReadsAreAnswered(t *testing.T) {
	t.Parallel()
	events := 20_000
	if text, ok := os.LookupEnv(backlogVariable); ok {
		var err error
		events, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	const runs = 200
	s := sharedStack(t)
	require.NoError(t, s.serveHere(hooks{}).stop()) // makes the log and the tables
	s.publishBacklog(events, runs)
	began := time.Now()
	d := s.spawn("none").serving()
	reading, stop := context.WithCancel(t.Context())
	defer stop()
	reads := s.readBacklog(reading, events, runs)
	s.eventually("the backlog is drained", func() bool { return s.rows("TRUE") == events })
	took := time.Since(began)
	s.eventually("enough was read", func() bool { return reads.n.Load() > 100 })
	stop()
	require.NoError(t, reads.Wait(), "a read during the drain")
	t.Logf("%d events in %s, from the start of the daemon on, and beside them %d reads, all right", events, took.Round(time.Millisecond), reads.n.Load())
	require.NoError(t, d.terminate())
}

// publishBacklog puts events into the log, of so many runs in turn.
func (s *stack) publishBacklog(events, runs int) {
	s.t.Helper()
	subjects := wire.Subjects{Prefix: "persistd"}
	for i := range events {
		_, err := s.js.PublishMsgAsync(&nats.Msg{
			Subject: subjects.Write(wire.DefaultNamespace, wire.KindRun, fmt.Sprintf("run-%d", i%runs)),
			Data:    fmt.Appendf(nil, `{"step":%d,"node_id":"n","state":{"i":%d}}`, i/runs, i),
		})
		require.NoError(s.t, err)
		if i%1000 == 999 || i == events-1 {
			select {
			case <-s.js.PublishAsyncComplete():
			case <-time.After(time.Minute):
				require.FailNow(s.t, "log does not acknowledge")
			}
		}
	}
}

// backlogReaders are readers of a backlog that nobody adds to.
type backlogReaders struct {
	errgroup.Group
	n atomic.Int64
}

// readBacklog reads the runs of a backlog until ctx ends: the latest step of each is the one that was published last, wherever it is.
func (s *stack) readBacklog(ctx context.Context, events, runs int) *backlogReaders {
	s.t.Helper()
	readers := &backlogReaders{}
	for r := range 4 {
		st := s.open(client.WithAttemptTimeout(10*time.Second), client.WithTimeout(time.Minute))
		readers.Go(func() error {
			for i := r; ctx.Err() == nil; i += 7 {
				if err := readers.one(ctx, st, i%runs, (events-1-i%runs)/runs, runs); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return readers
}

// one reads a run whose latest step is known. One that the end of ctx cut off says nothing.
func (b *backlogReaders) one(ctx context.Context, st client.Store[json.RawMessage], run, latest, runs int) error {
	state, step, err := st.LoadLatest(ctx, fmt.Sprintf("run-%d", run))
	switch want := fmt.Sprintf(`{"i":%d}`, latest*runs+run); {
	case err != nil && ctx.Err() == nil:
		return err
	case err != nil:
		return nil //nolint:nilerr // cut off.
	case step != latest, !sameJSON(want, string(state)):
		return fmt.Errorf("run-%d: read step %d with %s, not %d with %s", run, step, state, latest, want)
	}
	b.n.Add(1)
	return nil
}
