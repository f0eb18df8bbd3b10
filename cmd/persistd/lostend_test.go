package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

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
