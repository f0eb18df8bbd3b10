package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// The database is restored under a daemon that has nothing to do: no new event shows it that the position went back.
func TestI2ADatabaseRestoredUnderAnIdleDaemonHealsItselfAndSaysSo(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none").serving()
	s.publishSteps(0, 100)
	s.matchesLog()
	restore := s.backup()
	s.publishSteps(50, 100)
	s.matchesLog()
	restore()
	s.matchesLog()
	d.says("position went back: events are applied again")
	d.says("events are applied again: caught up")
	total := 0.0
	for name, n := range s.scrape(d.address()) {
		if strings.HasPrefix(name, "persistd_position_went_back_total") {
			total += n
		}
	}
	require.Positive(t, total)
	require.Empty(t, d.notReadyFor("gaps"), "nothing is missing")
	require.NoError(t, d.terminate())
	require.Empty(t, s.found())
}

// A dump is loaded table by table, and the positions come before the rows: what were applied in between would be dropped, and passed over.
func TestI2ADumpThatIsLoadedUnderTheDaemonIsWaitedFor(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	const waiting = "database is being restored: wait for"
	d := s.spawn("none").serving()
	made := time.Now()
	s.eventually("the tables are older than what is in them", func() bool { return time.Since(made) > 1100*time.Millisecond })
	s.publishSteps(0, 100)
	s.publish("run-5", `{"step":1,"node_id":"n","state":{}}`)
	s.publish("run-6", `{"step":1,"node_id":"n","state":{}}`)
	s.publish("run-7", `{"step":1,"node_id":"n","state":{}}`)
	s.publish("run-8", `{"step":1,"node_id":"n","state":{}}`)
	busy := map[int]bool{}
	for i := range 5 {
		busy[wire.Partition(wire.DefaultNamespace, fmt.Sprintf("run-%d", i), 8)] = true
	}
	idle := ""
	for i := 5; idle == ""; i++ {
		if run := fmt.Sprintf("run-%d", i); !busy[wire.Partition(wire.DefaultNamespace, run, 8)] {
			idle = run
		}
	}
	last := s.untilAppliedMeanwhile(idle, []*child{d}, func(round int) {
		s.publishSteps(50+100*round, 100)
	}, func() { // that commit, of a partition whose position did not go back, is no reason to begin
		said := d.times(waiting) // by those whose position did
		s.eventually("they go on waiting", func() bool { return d.times(waiting) > said+20 })
	}, func() {
		d.says(waiting)
	})
	s.eventually("it is applied again", func() bool { return s.rows("node_id=?", last) == 1 })
	s.matchesLog()
	d.says("position went back: events are applied again")
	require.NoError(t, d.terminate())
}

// The replica that committed while the tables were replaced is not the one that reads the partition next.
func TestI2WhatAnotherReplicaCommittedWhileADumpWasLoadedIsAppliedAgain(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	replicas := map[string]*child{
		"a": s.spawn("none", "PERSISTD_INSTANCE=a").serving(), "b": s.spawn("none", "PERSISTD_INSTANCE=b").serving(),
	}
	s.eventually("both share", func() bool { return s.owned("a") == 4 && s.owned("b") == 4 })
	made := time.Now()
	s.eventually("the tables are older than what is in them", func() bool { return time.Since(made) > 1100*time.Millisecond })
	s.publishSteps(0, 100)
	s.publish("run-6", `{"step":1,"node_id":"n","state":{}}`)
	owner := ""
	last := s.untilAppliedMeanwhile("run-6", slices.Collect(maps.Values(replicas)), func(int) {}, func() {
		owner = s.partitions()[wire.Partition(wire.DefaultNamespace, "run-6", 8)].Owner
	}, func() {
		require.Contains(t, replicas, owner)
		require.NoError(t, replicas[owner].terminate())
		delete(replicas, owner)
	})
	s.eventually("it is applied again", func() bool { return s.rows("node_id=?", last) == 1 })
	s.matchesLog()
	for _, r := range replicas {
		r.says("position set back")
		require.Empty(t, r.notReadyFor("gaps"), "nothing is missing")
		require.NoError(t, r.terminate())
	}
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
	s.eventually("all are counted", func() bool { return s.scrape(d.address())["persistd_gaps"] == 3 })
	s.publishSteps(200, 60) // what is new is applied, whatever is missing
	s.eventually("new steps are applied", func() bool { return s.rows("step BETWEEN 20 AND 25") == 30 })
	s.trimmed()
	for k, r := range was {
		require.Equal(t, r, s.table()[k])
	}
	require.NoError(t, d.terminate())

	// The position is past the gap by now, and the report is not.
	d = s.spawn("none", trimming...).serving()
	s.eventually("not ready again", func() bool { return d.notReadyFor("gaps") != "" })
	require.Equal(t, map[string]int{findGap: 3}, s.found())
	require.Contains(t, s.recover("--accept-gap", "--dry-run"), "would: accept gap")
	require.Equal(t, map[string]int{findGap: 3}, s.found())
	said := s.recover("--accept-gap")
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

// nats stream restore makes a stream with another time of creation, and old events. Under a generation of their own they would overwrite what
// came after them.
func TestI4ACopyOfTheLogGoesOnAndItsOldEventsStayOld(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none").serving()
	s.publishSteps(0, 100)
	s.publish("run-0", `{"step":1,"node_id":"later","state":{"later":true}}`)
	s.matchesLog()
	require.NoError(t, d.terminate())
	s.publishSteps(200, 50) // not applied yet
	snapshot := stacktest.TakeSnapshot(t, s.nc, "PERSISTD")
	was := s.table()
	snapshot.Restore(t, s.nc)
	require.Equal(t, map[string]int{findCopy: 1}, s.found())

	d = s.spawn("none").serving()
	d.says("log is a copy of one that was deleted, and goes on where that one was")
	s.publishSteps(300, 50)
	s.matchesLog()
	for k, r := range was {
		require.Equal(t, r, s.table()[k], "it is not applied again")
	}
	require.Empty(t, d.notReadyFor("gaps"))
	require.NoError(t, d.terminate())
	require.Empty(t, s.found())
}

// lostEnds are the ways in which a log comes to be behind the positions.
var lostEnds = []struct {
	name string
	// keep remembers the log as it is; what it returns brings that back.
	keep func(*stack) (lose func())
}{
	{"an older copy restored by nats stream restore", func(s *stack) func() {
		snapshot := stacktest.TakeSnapshot(s.t, s.nc, "PERSISTD")
		return func() { snapshot.Restore(s.t, s.nc) }
	}},
	{"its files are older", func(s *stack) func() {
		lose := stacktest.Rewind(s.t, s.server, "PERSISTD")
		s.answers()
		return func() { lose(); s.answers() }
	}},
}

// The log loses its end, and grows past the positions again before anybody looks.
func TestI2ALogThatLostItsEndAndGrewPastThePositionIsRefusedAcrossARestart(t *testing.T) {
	t.Parallel()
	for _, row := range lostEnds {
		for _, grown := range []int{0, 200} {
			t.Run(fmt.Sprintf("%s, grown by %d", row.name, grown), func(t *testing.T) {
				t.Parallel()
				s := sharedStack(t)
				d := s.spawn("none").serving()
				s.publishSteps(0, 50)
				s.matchesLog()
				lose := row.keep(s)
				s.eventually("the daemon reads on", func() bool { return d.notReadyFor("log") == "" })
				for i := range 5 {
					s.publish(fmt.Sprintf("run-%d", i), `{"step":1,"node_id":"lost","state":{"lost":true}}`)
				}
				s.publishSteps(50, 50)
				s.matchesLog()
				require.NoError(t, d.terminate())
				was := s.table()
				lose()
				if grown > 0 {
					for i := range 3 {
						s.publish(fmt.Sprintf("run-%d", i), `{"step":1,"node_id":"new","state":{"new":true}}`)
					}
					s.publishSteps(200, grown)
				}

				d = s.spawn("none")
				require.Error(t, d.wait(), "exit code")
				require.Contains(t, d.out.String(), "log lost its end")
				require.Contains(t, d.out.String(), "persistd recover")
				require.Equal(t, was, s.table())
				require.Positive(t, s.found()[findLostEnd])
				require.Contains(t, s.recover("--accept-lost-end", "-n"), "would: accept lost end: partition")
				require.Positive(t, s.found()[findLostEnd], "it was only said")
				require.Contains(t, s.recover("--accept-lost-end"), "accepted: start persistd serve")
				require.Empty(t, s.found())
				require.Contains(t, s.recover("--accept-lost-end"), "the log has lost none")

				d = s.spawn("none").serving()
				s.publish("run-4", `{"step":1,"node_id":"newest","state":{"new":true}}`)
				s.caughtUp()
				now := s.table()
				for i := range 5 {
					want := "lost" // what nobody has written since
					if i < 3 && grown > 0 {
						want = "new"
					}
					if i == 4 {
						want = "newest"
					}
					require.Equal(t, want, now[rowKey{fmt.Sprintf("run-%d", i), 1}].Node)
				}
				for i := 200; i < 200+grown; i++ {
					require.Contains(t, now, rowKey{fmt.Sprintf("run-%d", i%5), int32(i / 10)})
				}
				for k, r := range was {
					if k.Step != 1 {
						require.Equal(t, r, now[k], "what was applied is neither lost nor applied again")
					}
				}
				require.NoError(t, d.terminate())
			})
		}
	}
}

// A replica that only answers reads must not go on with a log that lost its end: it would take new events for committed ones.
func TestAReplicaThatOwnsNothingEndsWhenTheLogLosesItsEnd(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	owner := s.spawn("none", "PERSISTD_INSTANCE=owner", "PERSISTD_STREAM_PARTITIONS=1", "PERSISTD_LEASE_DURATION=10m").serving()
	s.ownedBy("owner")
	lose := stacktest.Rewind(t, s.server, "PERSISTD")
	s.answers()
	s.publishSteps(0, 10)
	s.matchesLog()
	standby := s.spawn("none", "PERSISTD_INSTANCE=standby").serving()
	owner.kill() // its lease goes on: the standby acquires nothing meanwhile
	watched := time.Now()
	s.eventually("the standby has looked", func() bool { return time.Since(watched) > 2*watchLogEvery })
	lose()
	s.answers()
	s.publishSteps(20, 20)
	require.Error(t, standby.wait())
	require.Contains(t, standby.out.String(), "log lost its end")
}

// Two databases on one log would each apply what it likes, and trim what the other lacks.
func TestALogOfAnotherDatabaseIsRefusedUntilItIsTaken(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	first := s.spawn("none").serving()
	s.publishSteps(0, 50)
	s.matchesLog()
	other := newStack(t, s.url, stacktest.Database(t))
	second := other.spawn("none", "PERSISTD_INSTANCE=second")
	require.Error(t, second.wait(), "exit code")
	ids := map[*stack]string{s: "", other: ""}
	for st := range ids {
		var id string
		require.NoError(t, st.db.QueryRowContext(t.Context(), "SELECT id FROM persistd_database").Scan(&id))
		require.Contains(t, second.out.String(), id, "both are named")
	}
	require.Contains(t, second.out.String(), "persistd recover --take-log")
	require.Zero(t, other.rows("TRUE"), "it applied nothing")

	require.Equal(t, 1, other.found()[findForeign])
	require.Contains(t, other.recover("--take-log", "-n"), "would: take log")
	require.Equal(t, 1, other.found()[findForeign])
	other.recover("--take-log")
	require.Error(t, first.wait(), "the first one ends by itself")
	require.Contains(t, first.out.String(), "log belongs to another database")
	second = other.spawn("none", "PERSISTD_INSTANCE=second").serving()
	other.matchesLog() // all of it is still in the log
	require.NoError(t, second.terminate())
	require.Error(t, s.spawn("none").wait(), "and does not come back")
}
