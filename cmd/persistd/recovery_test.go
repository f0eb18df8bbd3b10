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
