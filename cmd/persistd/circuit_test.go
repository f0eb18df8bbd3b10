package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A daemon that is older than its clients: no letters for thousands of events, but a replica that says so. Told to, it keeps them all.
func TestI7ADaemonThatKnowsNoneOfTheOpsSaysSoInsteadOfFillingTheLetters(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1", "PERSISTD_SHUTDOWN_DRAIN_TIMEOUT=0s")
	s.publish("run", `{"step":1,"node_id":"n","state":{}}`)
	s.matchesLog()
	release := s.lockPartitions()
	const n = 2000
	for range n {
		s.publish("run", `{"ops":[{"op":"of a later version"}]}`)
	}
	release()
	var why error // as it is told while the partition waits: now and then it tries again
	s.eventually("the replica is not ready", func() bool { why = d.blocked(); return why != nil })
	require.ErrorContains(t, why, "nearly every event is poison")
	require.ErrorContains(t, why, `unknown_op: op 0 is a "of a later version", which this version does not know`)
	require.ErrorContains(t, why, "is this persistd older than its clients")
	require.Less(t, len(s.deadLetters()), 100)
	m := s.metrics(d)
	require.InDelta(t, 1, m["persistd_poison_circuit_open"], 0)
	require.InDelta(t, 1, m["persistd_poison_circuit_trips_total"], 0)
	_ = d.stop() // with work unfinished, which it says

	s.serveHere(hooks{}, "PERSISTD_POISON_CIRCUIT=off", "PERSISTD_INSTANCE=test")
	s.eventually("all are kept", func() bool { return s.position(0) == n+1 })
	require.Len(t, s.deadLetters(), n)
}

// A schema that is not what it should be: nothing is made poison that is none, and it goes on by itself.
func TestI7AWrongSchemaIsWaitedForUntilItIsMended(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	s.publish("run", `{"step":0,"node_id":"n","state":{}}`)
	s.matchesLog()
	s.exec("ALTER TABLE workflow_steps MODIFY node_id VARCHAR(3) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL")
	release := s.lockPartitions()
	const n = 1000
	for i := range n {
		s.publish("run", fmt.Sprintf(`{"step":%d,"node_id":"a node","state":{}}`, i+1))
	}
	release()
	var why error // as it is told while the partition waits: now and then it tries again
	s.eventually("the replica is not ready", func() bool { why = d.blocked(); return why != nil })
	require.ErrorContains(t, why, "Data too long for column 'node_id'")
	letters := len(s.deadLetters())
	require.Less(t, letters, 100)
	s.exec("ALTER TABLE workflow_steps MODIFY node_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL")
	s.eventually("it goes on", func() bool { return s.position(0) == n+1 })
	s.eventually("the replica is ready, and the circuit closed", func() bool {
		return d.blocked() == nil && s.metrics(d)["persistd_poison_circuit_open"] == 0
	})
	require.Equal(t, n+1-len(s.deadLetters()), s.rows("TRUE"))
	if letters := len(s.deadLetters()); letters > 0 {
		s.mustDlq("retry", "--all")
	}
	require.Equal(t, n+1, s.rows("TRUE"))
}
