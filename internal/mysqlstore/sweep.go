package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/retention"
)

var _ retention.Sweeper = (*Store)(nil)

// sweepPage is how many rows are looked at, and removed, at a time: few enough that nobody waits long for their locks.
const sweepPage = 1000

// Sweep implements [retention.Sweeper].
//
// A key is only removed when no checkpoint has it any more: so it expires with or after what it guards. That cannot change between the look
// and the removal: a key that was used is never used again while its row is there, and one that is there again, because its run was deleted in
// between and saved anew, is not old. Keys that LangGraph-Go wrote do not say what they guard, and stay.
func (s *Store) Sweep(ctx context.Context, table retention.Table, age time.Duration, after string) (int64, string, error) {
	switch table {
	case retention.Keys:
		n, next, err := s.sweepKeys(ctx, age, after)
		return n, next, s.fail("remove old idempotency keys", err)
	case retention.Events:
		n, err := s.sweepEvents(ctx, age)
		if n < sweepPage || err != nil {
			return n, "", s.fail("remove emitted events", err)
		}
		return n, "more", nil // the oldest go first, so every page begins at the beginning
	default:
		return 0, "", fmt.Errorf("sweep %s: no such table", table)
	}
}

func (s *Store) sweepKeys(ctx context.Context, age time.Duration, after string) (removed int64, next string, err error) {
	rows, err := s.readers.QueryContext(ctx, "SELECT k.key_value, c.id IS NULL FROM idempotency_keys k"+
		" LEFT JOIN workflow_checkpoints_v2 c ON c.run_id = k.run_id AND c.step_id = k.step_id AND c.idempotency_key = k.key_value"+
		" WHERE k.key_value > ? AND k.run_id <> '' AND k.created_at < CURRENT_TIMESTAMP(6) - INTERVAL ? MICROSECOND ORDER BY k.key_value LIMIT ?",
		after, age.Microseconds(), sweepPage)
	if err != nil {
		return 0, "", err //nolint:wrapcheck // the caller does.
	}
	var old []any
	seen, err := collectKeys(rows, &old, &next)
	if err != nil {
		return 0, "", err
	}
	if seen < sweepPage {
		next = ""
	}
	if len(old) == 0 {
		return 0, next, nil
	}
	removed, err = s.removeKeys(ctx, age, old)
	return removed, next, err
}

// removeKeys removes those of the keys that are old.
func (s *Store) removeKeys(ctx context.Context, age time.Duration, keys []any) (removed int64, err error) {
	for part := range slices.Chunk(keys, largestChunk) {
		res, err := s.readers.ExecContext(ctx, "DELETE FROM idempotency_keys WHERE key_value IN "+string(appendMarks(nil, len(part)))+
			" AND created_at < CURRENT_TIMESTAMP(6) - INTERVAL ? MICROSECOND", append(slices.Clone(part), age.Microseconds())...)
		if err != nil {
			return removed, err //nolint:wrapcheck // the caller does.
		}
		n, err := res.RowsAffected()
		if err != nil {
			return removed, err //nolint:wrapcheck // never fails with this driver.
		}
		removed += n
	}
	return removed, nil
}

// collectKeys reads a page: the keys that guard nothing into old, the last key looked at into last.
func collectKeys(rows *sql.Rows, old *[]any, last *string) (seen int, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var free bool
		if err := rows.Scan(last, &free); err != nil {
			return seen, err //nolint:wrapcheck // the caller does.
		}
		if seen++; free {
			*old = append(*old, *last)
		}
	}
	return seen, rows.Err() //nolint:wrapcheck // the caller does.
}

func (s *Store) sweepEvents(ctx context.Context, age time.Duration) (int64, error) {
	res, err := s.readers.ExecContext(ctx, "DELETE FROM events_outbox WHERE emitted_at IS NOT NULL"+
		" AND emitted_at < CURRENT_TIMESTAMP(6) - INTERVAL ? MICROSECOND ORDER BY emitted_at LIMIT ?", age.Microseconds(), sweepPage)
	if err != nil {
		return 0, err //nolint:wrapcheck // the caller does.
	}
	return res.RowsAffected() //nolint:wrapcheck // never fails with this driver.
}
