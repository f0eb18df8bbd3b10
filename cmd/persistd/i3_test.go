package main

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A replica is paused in the middle of a commit for longer than its lease. Another takes over and goes on. When the first one wakes up
// it believes that it owns the partition, and must not write.
func TestI3PausedReplicaCannotWrite(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{"PERSISTD_STREAM_PARTITIONS=1", "PERSISTD_LEASE_DURATION=4s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=1s"}
	a := s.spawn("stop-before:2", append(settings, "PERSISTD_INSTANCE=a")...).serving()
	s.publish("run", `{"step":0,"node_id":"n","state":{"v":"before"}}`)
	s.matchesLog()
	mine := s.ownedBy("a")

	s.publish("run", `{"step":1,"node_id":"n","state":{"v":"in flight"}}`)
	s.eventually("a is paused", func() bool { return a.procState("State") == "T (stopped)" })
	require.Zero(t, s.rows("step = 1"))

	b := s.spawn("none", append(settings, "PERSISTD_INSTANCE=b")...).serving()
	theirs := s.ownedBy("b")
	require.Greater(t, theirs[0].Epoch, mine[0].Epoch)
	s.publish("run", `{"step":2,"node_id":"n","state":{"v":"after"}}`)
	s.matchesLog()
	// What a has in flight would be seen if it came: somebody has deleted that step.
	s.exec("DELETE FROM workflow_steps WHERE step = 1")
	rows, at := s.table(), s.partitions()

	require.NoError(t, a.cmd.Process.Signal(syscall.SIGCONT))
	a.says(`partition given up`)
	require.Equal(t, rows, s.table(), "nothing of what a had in flight was written")
	require.Equal(t, at, s.partitions(), "owner, epoch and position stand")

	s.publish("run", `{"step":3,"node_id":"n","state":{"v":"on"}}`)
	s.eventually("b goes on", func() bool { return s.rows("step = 3") == 1 })
	require.Equal(t, theirs[0].Epoch, s.partitions()[0].Epoch, "in the term that it had")
	require.NoError(t, b.terminate())
	s.ownedBy("a") // which is a replica like any other again
	require.NoError(t, a.terminate())
}

// A replica is paused with its transaction open, and the server ends its connection, as it does after wait_timeout. Nothing of the
// transaction is there, and what the replica has under way when it wakes up comes to nothing.
func TestI3ReplicaPausedInsideItsTransaction(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	proxy := s.behindProxy()
	settings := []string{"PERSISTD_STREAM_PARTITIONS=1", "PERSISTD_LEASE_DURATION=4s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=1s"}
	a := s.spawn("none", append(settings, "PERSISTD_INSTANCE=a")...).serving()
	s.publish("run", `{"step":0,"node_id":"n","state":{"v":"before"}}`)
	s.matchesLog()

	sprung := proxy.arm(swallowCommit, 1)
	s.publish("run", `{"step":1,"node_id":"n","state":{"v":"in flight"}}`)
	<-sprung
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGSTOP))
	require.Equal(t, 1, s.dirty("step = 1"))
	var id int
	s.eventually("the server, which looks anew every now and then, tells of the transaction", func() bool {
		return s.db.QueryRowContext(t.Context(), "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx x"+
			" JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id WHERE p.db = DATABASE() AND trx_rows_modified > 0").Scan(&id) == nil
	})
	b := s.spawn("none", append(settings, "PERSISTD_INSTANCE=b")...).serving()
	require.Equal(t, "a", s.partitions()[0].Owner, "the open transaction holds the partition")
	s.exec(fmt.Sprintf("KILL %d", id)) // MySQL does not prepare it

	s.ownedBy("b")
	s.publish("run", `{"step":2,"node_id":"n","state":{"v":"after"}}`)
	s.matchesLog()
	s.exec("DELETE FROM workflow_steps WHERE step = 1")
	rows, at := s.table(), s.partitions()
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGCONT))
	a.says(`partition given up`)
	require.Equal(t, rows, s.table())
	require.Equal(t, at, s.partitions())
	require.NoError(t, b.terminate())
	require.NoError(t, a.terminate())
}

// SIGTERM hands over: the partitions are free when the process is gone, although its leases run for long.
func TestI3SIGTERMHandsOver(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	const lease = 20 * time.Second
	a := s.spawn("none", "PERSISTD_INSTANCE=a", "PERSISTD_LEASE_DURATION=10m").serving()
	mine := s.ownedBy("a")
	b := s.spawn("none", "PERSISTD_INSTANCE=b", "PERSISTD_LEASE_DURATION="+lease.String()).serving()
	f := s.fleet(4, 200, 5*time.Millisecond)
	f.advances(100)
	require.NoError(t, a.terminate())
	for p, at := range s.partitions() {
		require.NotEqual(t, "a", at.Owner, "partition %d", p)
	}
	for p, at := range s.ownedBy("b") {
		require.Equal(t, mine[p].Epoch+1, at.Epoch, "nobody had partition %d between", p)
	}
	f.advances(100)
	f.home()
	s.matchesLog()
	require.NoError(t, b.terminate())
}
