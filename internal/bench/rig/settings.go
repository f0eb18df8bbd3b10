package rig

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
)

// Settings are those of the database that decide how fast it is, in words, as the server has them.
type Settings struct {
	// Commit is whether each commit is synced to the disk.
	Commit string
	// BufferPool is its size.
	BufferPool string
	// Indexes are those of workflow_steps and of workflow_checkpoints.
	Indexes string
}

// Settings asks the database server.
func (r *Rig) Settings(ctx context.Context) (s Settings, err error) {
	var flush, syncBinlog, pool uint64
	var binlog bool
	q := "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.log_bin, @@GLOBAL.sync_binlog, @@GLOBAL.innodb_buffer_pool_size"
	if err := r.db.QueryRowContext(ctx, q).Scan(&flush, &binlog, &syncBinlog, &pool); err != nil {
		return s, fmt.Errorf("ask database for its settings: %w", err)
	}
	s.Commit, s.BufferPool = commit(flush, binlog, syncBinlog), humanize.IBytes(pool)
	for _, table := range []string{"workflow_steps", "workflow_checkpoints"} {
		of, err := r.indexes(ctx, table)
		if err != nil {
			return s, fmt.Errorf("ask database for the indexes of %s: %w", table, err)
		}
		if s.Indexes != "" {
			s.Indexes += "; "
		}
		s.Indexes += table + ": " + of
	}
	return s, nil
}

// commit says what the settings make of a commit. Without a binary log how that is synced does not matter.
func commit(flush uint64, binlog bool, syncBinlog uint64) string {
	is, settings := "synced", fmt.Sprintf("innodb_flush_log_at_trx_commit=%d", flush)
	if flush != 1 || binlog && syncBinlog != 1 {
		is = "not always synced"
	}
	if !binlog {
		return fmt.Sprintf("%s (%s, no binary log)", is, settings)
	}
	return fmt.Sprintf("%s (%s, sync_binlog=%d)", is, settings, syncBinlog)
}

// indexes are those of a table, each with its columns: PRIMARY (id), unique_run_step (run_id, step).
func (r *Rig) indexes(ctx context.Context, table string) (all string, err error) {
	var list sql.NullString
	q := `SELECT GROUP_CONCAT(one ORDER BY name <> 'PRIMARY', name SEPARATOR ', ') FROM (
		SELECT index_name AS name, CONCAT(index_name, ' (', GROUP_CONCAT(column_name ORDER BY seq_in_index SEPARATOR ', '), ')') AS one
		FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? GROUP BY index_name) indexes`
	if err := r.db.QueryRowContext(ctx, q, table).Scan(&list); err != nil {
		return "", err //nolint:wrapcheck // the caller says what was asked.
	}
	if !list.Valid {
		return "", errors.New("there are none")
	}
	return list.String, nil
}
