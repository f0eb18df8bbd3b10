package rig

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACommitIsSyncedWhenTheRedoLogAndTheBinaryLogAre(t *testing.T) {
	t.Parallel()
	require.Equal(t, "synced (innodb_flush_log_at_trx_commit=1, no binary log)", commit(1, false, 0))
	require.Equal(t, "synced (innodb_flush_log_at_trx_commit=1, sync_binlog=1)", commit(1, true, 1))
	require.Equal(t, "not always synced (innodb_flush_log_at_trx_commit=1, sync_binlog=0)", commit(1, true, 0))
	require.Equal(t, "not always synced (innodb_flush_log_at_trx_commit=2, no binary log)", commit(2, false, 1))
	require.Equal(t, "not always synced (innodb_flush_log_at_trx_commit=0, sync_binlog=1)", commit(0, true, 1))
}
