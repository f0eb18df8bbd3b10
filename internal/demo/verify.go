package demo

import (
	"context"
	"database/sql"
	"fmt"
)

// Verdict is the ledger against the database.
type Verdict struct {
	// Rows are in the table.
	Rows int64
	// Lost steps were acknowledged and are not there; Altered ones are there with another state; Doubled ones more than once;
	// Unknown ones were never saved by anybody.
	Lost, Altered, Doubled, Unknown int64
	// Unacknowledged steps are there although their saving failed: allowed, as the caller was told that the outcome is unknown.
	Unacknowledged int64
}

// Clean says that nothing is lost, altered, doubled or made up.
func (v Verdict) Clean() bool { return v.Lost+v.Altered+v.Doubled+v.Unknown == 0 }

// verify reads the whole table with plain SQL.
func verify(ctx context.Context, db *sql.DB, l *Ledger) (Verdict, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var v Verdict
	rows, err := db.QueryContext(ctx, "SELECT run_id, step, state FROM workflow_steps WHERE run_id LIKE 'demo/%'")
	if err != nil {
		return v, fmt.Errorf("read workflow_steps: %w", err)
	}
	defer rows.Close()
	seen := make(map[key]bool, len(l.acked))
	for rows.Next() {
		var (
			k     key
			state []byte
		)
		if err := rows.Scan(&k.run, &k.step, &state); err != nil {
			return v, fmt.Errorf("read row: %w", err)
		}
		v.Rows++
		want, acked := l.acked[k]
		other, tried := l.maybe[k]
		switch {
		case seen[k]:
			v.Doubled++
		case acked && want != l.digest(state):
			v.Altered++
		case !acked && tried && other == l.digest(state):
			v.Unacknowledged++
		case !acked:
			v.Unknown++
		}
		seen[k] = true
	}
	if err := rows.Err(); err != nil {
		return v, fmt.Errorf("read workflow_steps: %w", err)
	}
	for k := range l.acked {
		if !seen[k] {
			v.Lost++
		}
	}
	return v, nil
}

// committed counts the rows; while the database is away it is -1.
func committed(ctx context.Context, db *sql.DB) int64 {
	var n int64
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM workflow_steps").Scan(&n); err != nil {
		return -1
	}
	return n
}
