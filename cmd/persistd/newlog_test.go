package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// A log that was made again under the old name is another log, also for a replica that owns nothing and so reads nothing of it.
func TestReplicaThatOwnsNothingEndsWithItsLog(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	owner := s.spawn("none", "PERSISTD_INSTANCE=owner", "PERSISTD_STREAM_PARTITIONS=1", "PERSISTD_LEASE_DURATION=10m")
	s.eventually("owner applies", func() bool {
		var name string
		err := s.db.QueryRowContext(t.Context(), "SELECT owner FROM persistd_partitions").Scan(&name)
		return err == nil && name == "owner"
	})
	standby := s.spawn("none", "PERSISTD_INSTANCE=standby")
	s.eventually("both answer", func() bool {
		replicas, err := askStatus(t.Context(), s.nc, wire.Subjects{Prefix: "persistd"}, 200*time.Millisecond)
		return err == nil && len(replicas) == 2
	})
	owner.kill() // its lease goes on: the standby acquires nothing meanwhile
	old, err := s.js.Stream(t.Context(), "PERSISTD")
	require.NoError(t, err)
	require.NoError(t, s.js.DeleteStream(t.Context(), "PERSISTD"))
	_, err = s.js.CreateStream(t.Context(), old.CachedInfo().Config)
	require.NoError(t, err)
	require.Error(t, standby.wait())
	require.Contains(t, standby.out.String(), "log is not the stream that it was")
}
