package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/wire"
)

// has reports whether a partition's gap keeps the replica from being ready.
func (g *openGaps) has(partition int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.open, func(gap mysqlstore.Gap) bool { return gap.Partition == partition })
}

// Whoever reads in the log that events are lost, and asks, must not be told that the replica is ready: whatever other gaps are found, and however often
// the database is asked, at that moment.
func TestI2AGapThatTheLogTellsOfKeepsTheReplicaFromBeingReady(t *testing.T) {
	t.Parallel()
	store, err := mysqlstore.Open(mysqlstore.Config{DSN: stacktest.Database(t), Owner: "test"}, zap.NewNop(), prometheus.NewRegistry())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.Migrate(t.Context()))

	const partitions = 20
	told := make(chan int, partitions+1)
	var g *openGaps
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(&tail{}), zap.ErrorLevel), zap.Hooks(func(zapcore.Entry) error {
		if err := g.check(); err == nil {
			t.Error("it is said that events are lost, and the replica is ready")
		}
		told <- 1
		return nil
	}))
	g = newOpenGaps(store, "PERSISTD", log)
	require.NoError(t, g.check())
	gap := func(p int) *mysqlstore.Gap {
		return &mysqlstore.Gap{Stream: "PERSISTD", Created: time.Unix(1e9, 0), Partition: p, Through: wire.Place{Sequence: 9}, Why: "it is a test"}
	}
	var all sync.WaitGroup
	for p := range partitions {
		all.Go(func() {
			for range 2 { // the second time it is known
				if err := g.record(t.Context(), gap(p)); err != nil || !g.has(p) {
					t.Errorf("recorded gap of partition %d is not open: %v", p, err)
				}
			}
		})
		all.Go(func() {
			if err := g.look(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Len(t, told, partitions, "each is said once")
	for p := range partitions {
		require.True(t, g.has(p))
	}
	found := g.begin()
	old, err := store.Gaps(t.Context(), "PERSISTD", true)
	require.NoError(t, err)
	require.NoError(t, g.record(t.Context(), gap(partitions)))
	found(old)
	require.True(t, g.has(partitions), "an answer from before the record takes nothing away")
	require.InDelta(t, partitions+1, testutil.ToFloat64(g.n), 0)
	require.NoError(t, g.look(t.Context()))
	g.opened(gap(partitions))
	require.InDelta(t, partitions+1, testutil.ToFloat64(g.n), 0, "a look that was faster has it already")

	another := newOpenGaps(store, "PERSISTD", zap.NewNop())
	require.NoError(t, another.look(t.Context()))
	require.ErrorContains(t, another.check(), "and 18 more")
	open, err := store.Gaps(t.Context(), "PERSISTD", true)
	require.NoError(t, err)
	var ids []uint64
	for i := range open {
		ids = append(ids, open[i].ID)
	}
	require.NoError(t, store.AcceptGaps(t.Context(), "test", ids))
	require.NoError(t, another.record(t.Context(), gap(3)), "recorded again")
	require.NoError(t, another.check(), "and it is accepted")
}

// short windows, so that what is committed is trimmed at once.
var trimming = []string{"PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=50ms", "PERSISTD_STREAM_PARTITIONS=3"}

// The backup is older than what the log holds.
func TestI2WhatTheLogNoLongerHoldsIsAGapUntilSomebodyAcceptsIt(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none", trimming...).serving()
	s.publishSteps(0, 60)
	s.trimmed()
	restore := s.backup()
	was := s.table()
	s.publishSteps(100, 60)
	s.trimmed()
	require.NoError(t, d.terminate())
	restore()
	require.Equal(t, 3, s.found()[findGap], "before anybody starts: one per partition")
	before := s.partitions()

	d = s.spawn("none", trimming...).serving()
	d.says("events are lost: the database was restored from further back than the log reaches")
	require.Contains(t, d.notReadyFor("gaps"), "persistd recover --accept-gap")
	s.eventually("all are found", func() bool { return s.scrape(d.address())["persistd_gaps"] == 3 })
	s.publishSteps(200, 60) // what is new is applied, whatever is missing
	s.eventually("new steps are applied", func() bool { return s.rows("step BETWEEN 20 AND 25") == 30 })
	s.trimmed()
	for k, r := range was {
		require.Equal(t, r, s.table()[k])
	}
	require.NoError(t, d.terminate())

	// The position is past the gap by now, and the report is not.
	d = s.spawn("none", trimming...).serving()
	require.Contains(t, d.notReadyFor("gaps"), "events are lost", "not for a moment is it ready")
	require.Equal(t, map[string]int{findGap: 3}, s.found())
	said, code := s.recovers("--accept-gap", "--dry-run")
	require.Contains(t, said, "would: accept gap")
	require.Equal(t, 1, strings.Count(said, "neither here nor in the log"), "what the partitions have in common is said once: %s", said)
	require.Equal(t, 1, code, "nobody has accepted it")
	require.Equal(t, map[string]int{findGap: 3}, s.found())
	said, code = s.recovers("--accept-gap")
	require.Contains(t, said, "\naccepted gap ")
	require.Zero(t, code)
	for p, at := range before {
		require.Contains(t, said, fmt.Sprintf("partition %d after %d (", p, at.Position))
	}
	require.Empty(t, s.found())
	s.eventually("ready", func() bool { return d.notReadyFor("gaps") == "" })
	require.Zero(t, s.scrape(d.address())["persistd_gaps"])
	require.NoError(t, d.terminate())
	d = s.spawn("none", trimming...).serving()
	require.Empty(t, d.notReadyFor("gaps"))
	require.NoError(t, d.terminate())
}

// A stream is deleted that holds events which were never applied: what can be known of them is said.
func TestI1WhatADeletedLogHeldAndWasNotAppliedIsReported(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{"PERSISTD_STREAM_TRIM_INTERVAL=50ms", "PERSISTD_STREAM_PARTITIONS=3"}
	d := s.spawn("none", settings...).serving()
	s.publishSteps(0, 60)
	s.matchesLog()
	was := s.table()
	release := s.lockPartitions()
	s.publishSteps(100, 60)
	s.eventually("marks know how far the log reaches", func() bool { return s.mark(0).Last == 120 })
	d.kill()
	release()
	require.NoError(t, s.js.DeleteStream(t.Context(), "PERSISTD"))

	d = s.spawn("none", settings...).serving()
	d.says("log was made again: what the one before held and had not been applied is lost")
	d.says("events are lost: the log was deleted before all that it held was applied")
	require.Contains(t, d.notReadyFor("gaps"), "all partitions after 60 (")
	s.publish("run-0", `{"step":1,"node_id":"anew","state":{"new":true}}`)
	s.eventually("the new log's event wins", func() bool { return s.rows("run_id='run-0' AND step=1 AND node_id='anew'") == 1 })
	require.Len(t, s.table(), len(was))
	s.recover("--accept-gap")
	s.eventually("ready", func() bool { return d.notReadyFor("gaps") == "" })
	require.NoError(t, d.terminate())
}

// The same, of one whose events were applied, and of a database that is restored to before: then they are nowhere.
func TestI1ADatabaseRestoredToBeforeItsLogWasDeletedKnowsWhatItLacks(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{"PERSISTD_STREAM_TRIM_INTERVAL=50ms", "PERSISTD_STREAM_PARTITIONS=2"}
	d := s.spawn("none", settings...).serving()
	s.publishSteps(0, 20)
	s.matchesLog()
	restore := s.backup()
	s.publishSteps(100, 20)
	s.matchesLog()
	s.eventually("marked", func() bool { return max(s.mark(0).Reached.Sequence, s.mark(1).Reached.Sequence) == 40 })
	require.NoError(t, d.terminate())
	require.NoError(t, s.js.DeleteStream(t.Context(), "PERSISTD"))
	d = s.spawn("none", settings...).serving()
	require.Empty(t, d.notReadyFor("gaps"), "all of it had been applied")
	s.publishSteps(200, 20)
	s.eventually("marked", func() bool { return max(s.mark(0).Reached.Sequence, s.mark(1).Reached.Sequence) == 20 })
	require.NoError(t, d.terminate())

	restore()
	d = s.spawn("none", settings...).serving()
	d.says("events are lost: the database was restored to before a log was deleted that had been applied further")
	require.Contains(t, d.notReadyFor("gaps"), "events are lost")
	s.eventually("the present log is applied", func() bool { return s.rows("step BETWEEN 20 AND 21") == 10 })
	require.NoError(t, d.terminate())
}
