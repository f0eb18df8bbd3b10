package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// queued publishes events while the database hangs, and waits until the daemon has read them.
func (s *stack) queued(c *child, n int) (release func()) {
	s.t.Helper()
	c.serving()
	s.ownedBy("test")
	release = s.lockPartitions()
	for i := range n {
		s.publish(fmt.Sprintf("run-%d", i%7), fmt.Sprintf(`{"step":%d,"node_id":"n","state":{"i":%d}}`, i, i))
	}
	s.eventually("the daemon has read them", func() bool {
		read := 0.0
		for name, v := range s.scrape(c.address()) {
			if strings.HasPrefix(name, "persistd_queue_events{") {
				read += v
			}
		}
		return int(read) == n
	})
	return release
}

// The first phases: nothing more is read, and what was read is committed.
func TestSIGTERMCommitsWhatWasRead(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none", "PERSISTD_SHUTDOWN_DRAIN_TIMEOUT=2m")
	release := s.queued(d, 100)
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGTERM))
	d.says(`"msg":"stopping"`)
	require.Zero(t, s.rows("TRUE"))
	release()
	require.NoError(t, d.wait(), "exit code")
	require.Equal(t, 100, s.rows("TRUE"), "committed by the process that was told to stop")
	s.matchesLog()
}

// The drain runs out, because the database hangs: the exit code tells, what is unfinished is counted, and it is not lost. A long lease
// does not keep the process.
func TestSIGTERMDrainRunsOut(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none", "PERSISTD_SHUTDOWN_DRAIN_TIMEOUT=1s", "PERSISTD_LEASE_DURATION=10m")
	release := s.queued(d, 100)
	require.Error(t, d.terminate(), "exit code")
	require.Contains(t, d.out.String(), "100 events were read and not committed, and are still in the log: drain took longer than 1s")
	release()
	require.Zero(t, s.rows("TRUE"))
	d = s.spawn("none").serving()
	s.matchesLog()
	require.Equal(t, 100, s.rows("TRUE"))
	require.NoError(t, d.terminate())
}

// A second signal does not wait for the drain.
func TestSIGTERMTwiceSkipsTheDrain(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none", "PERSISTD_SHUTDOWN_DRAIN_TIMEOUT=1h")
	release := s.queued(d, 100)
	require.NoError(t, d.cmd.Process.Signal(syscall.SIGTERM))
	d.says(`"msg":"stopping"`)
	require.Error(t, d.terminate(), "exit code")
	require.Contains(t, d.out.String(), "100 events were read and not committed, and are still in the log: second signal")
	release()
	d = s.spawn("none").serving()
	s.matchesLog()
	require.NoError(t, d.terminate())
}
