package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/persistd/persistd/internal/readpath"
)

// Keys implements [readpath.History]. The content hash of a key that persistd did not write is zero, which is no content's.
func (r *reads) Keys(ctx context.Context, keys []string) ([]readpath.Key, error) {
	found, err := r.keys(ctx, keys)
	return found, r.failed("read idempotency keys", err)
}

func (r *reads) keys(ctx context.Context, keys []string) ([]readpath.Key, error) {
	generation, err := r.generation()
	if err != nil {
		return nil, err
	}
	var all []readpath.Key
	for part := range slices.Chunk(keys, largestChunk) {
		if all, err = r.appendKeys(ctx, all, part, generation); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (r *reads) appendKeys(ctx context.Context, all []readpath.Key, keys []string, generation uint32) (_ []readpath.Key, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT key_value, content_hash, log_seq, log_gen FROM idempotency_keys WHERE key_value IN "+
		string(appendMarks(nil, len(keys))), anys(keys)...)
	if err != nil {
		return nil, fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			k     readpath.Key
			hash  []byte
			wrote uint32
		)
		if err := rows.Scan(&k.Key, &hash, &k.Sequence, &wrote); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		copy(k.ContentHash[:], hash)
		if wrote != generation {
			k.Sequence = 0
		}
		all = append(all, k)
	}
	return all, wrap("read", rows.Err())
}

// Attempt implements [readpath.History].
func (r *reads) Attempt(ctx context.Context, runID string) (attempt uint32, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT attempt FROM persistd_runs WHERE run_id=?", runID).Scan(&attempt)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return attempt, r.failed("read attempt", err)
}
