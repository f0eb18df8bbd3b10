package rig

import (
	"context"
	"fmt"
	"math"
	"strings"

	"golang.org/x/sync/errgroup"
)

// The names under which the large table and the empty one wait for their turn, and that of the rows of which the large one is made.
const (
	grownTable = "bench_grown"
	asideTable = "bench_aside"
	blockTable = "bench_block"
)

// block is how many rows one statement of Grow makes.
const block = 100_000

// Grow makes a second table as workflow_steps is, with so many rows of about 250 B of state, stepsOfRun a run, whose run ids are spread over all
// hexadecimal numbers of 16 digits. The server makes them itself, of the states of one block of rows, in the order of both indexes but for what two
// connections do side by side. The ids are given, so that these need not wait for each other to draw them.
func (r *Rig) Grow(ctx context.Context, rows, stepsOfRun int) error {
	for _, q := range []string{
		"CREATE TABLE " + grownTable + " LIKE workflow_steps",
		"CREATE TABLE " + blockTable + " (n BIGINT NOT NULL PRIMARY KEY, state LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL)",
		"INSERT INTO " + blockTable + ` SELECT n, CONCAT('{"n":', n, ',"text":"', REPEAT(LPAD(HEX(n * 2654435761), 16, '0'), 14), '"}') FROM (` + numbers() + ") numbers ORDER BY n",
	} {
		if _, err := r.db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("make large table: %w", err)
		}
	}
	apart := uint64(math.MaxUint64) / uint64((rows+stepsOfRun-1)/stepsOfRun) //nolint:gosec // G115: a count.
	return r.eagerly(ctx, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(2)
		for begin := 0; begin < rows && ctx.Err() == nil; begin += block {
			//nolint:gosec // G201: numbers and names of our own.
			q := fmt.Sprintf(`INSERT INTO %[1]s (id, run_id, step, node_id, state, created_at, log_seq, log_gen)
				SELECT n + %[2]d + 1, LPAD(HEX(CAST((n + %[2]d) DIV %[3]d AS UNSIGNED) * %[4]d), 16, '0'), (n + %[2]d) %% %[3]d, 'node', state, NOW(6), 0, 1
				FROM %[5]s WHERE n < %[6]d ORDER BY n`, grownTable, begin, stepsOfRun, apart, blockTable, rows-begin)
			g.Go(func() error {
				if _, err := r.db.ExecContext(ctx, q); err != nil {
					return fmt.Errorf("fill large table: %w", err)
				}
				return nil
			})
		}
		return g.Wait() //nolint:wrapcheck // wrapped above.
	})
}

// numbers are those below block, in SQL that all servers know.
func numbers() string {
	ten := "(SELECT 0 AS d" + strings.Join([]string{"", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, " UNION ALL SELECT ") + ")"
	return "SELECT a.d + 10*b.d + 100*c.d + 1000*e.d + 10000*f.d AS n FROM " + strings.Join([]string{ten + " a", ten + " b", ten + " c", ten + " e", ten + " f"}, " CROSS JOIN ")
}

// SwapGrown exchanges workflow_steps and the large table, with no daemon running. A second call exchanges them back.
func (r *Rig) SwapGrown(ctx context.Context) error {
	q := fmt.Sprintf("RENAME TABLE workflow_steps TO %[2]s, %[1]s TO workflow_steps, %[2]s TO %[1]s", grownTable, asideTable)
	if _, err := r.db.ExecContext(ctx, q); err != nil {
		return fmt.Errorf("exchange tables: %w", err)
	}
	return nil
}

// LastRow is the id of the row of workflow_steps that was inserted last; zero when there is none.
func (r *Rig) LastRow(ctx context.Context) (id int64, err error) {
	if err := r.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), 0) FROM workflow_steps").Scan(&id); err != nil {
		return 0, fmt.Errorf("find last row: %w", err)
	}
	return id, nil
}

// CountAfter is how many rows were inserted after that row.
func (r *Rig) CountAfter(ctx context.Context, id int64) (n int, err error) {
	if err := r.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM workflow_steps WHERE id > ?", id).Scan(&n); err != nil {
		return 0, fmt.Errorf("count new rows: %w", err)
	}
	return n, nil
}
