package rig

import (
	"context"
	"fmt"
)

// kept is where the positions are remembered. The daemon knows nothing of it.
const kept = "bench_positions"

// RememberPositions keeps the positions as they are, as a dump would, with no daemon running.
func (r *Rig) RememberPositions(ctx context.Context) error {
	for _, q := range []string{"DROP TABLE IF EXISTS " + kept, "CREATE TABLE " + kept + " AS SELECT * FROM persistd_partitions"} {
		if _, err := r.db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("remember positions: %w", err)
		}
	}
	return nil
}

// RestorePositions puts the remembered positions back, as loading the dump would, with no daemon running.
func (r *Rig) RestorePositions(ctx context.Context) error {
	if _, err := r.db.ExecContext(ctx, "REPLACE INTO persistd_partitions SELECT * FROM "+kept); err != nil {
		return fmt.Errorf("restore positions: %w", err)
	}
	return nil
}
