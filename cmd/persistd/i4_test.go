package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The same events are given to a new term, one commit at a time, over rows that later events wrote: at no commit of the replay does a
// row go back.
func TestI4ReplayNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	const versions = 6
	d := s.spawn("none").serving()
	for v := range versions {
		for step := range 3 {
			s.publish("run", fmt.Sprintf(`{"step":%d,"node_id":"n%d","state":{"v":%d}}`, step, v, v))
		}
	}
	s.matchesLog()
	require.NoError(t, d.terminate())
	rows := s.table()

	s.exec("UPDATE persistd_partitions SET position = 0")
	for range 3 { // 15 of the 18 events
		d := s.spawn("kill-after:5", "PERSISTD_BATCH_ROWS=1")
		require.ErrorContains(t, d.wait(), "killed")
		require.Equal(t, rows, s.table(), "rows in the middle of the replay: values, sequences, created_at")
	}
	d = s.spawn("none", "PERSISTD_BATCH_ROWS=1").serving()
	s.matchesLog()
	require.Equal(t, rows, s.table(), "rows after the replay")
	require.NoError(t, d.terminate())
}

// Many writes to a few steps: within a batch, and from batch to batch, the last one stands, and created_at is the first one's.
func TestI4LastWriteStands(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.spawn("none", "PERSISTD_STREAM_PARTITIONS=1", "PERSISTD_BATCH_ROWS=70").serving()
	release := s.lockPartitions() // so that there is more than a batch
	for i := range 300 {
		s.publish("run", fmt.Sprintf(`{"step":%d,"node_id":"n","state":{"v":%d}}`, i%7, i))
	}
	release()
	s.matchesLog()
	require.NoError(t, d.terminate())
}
