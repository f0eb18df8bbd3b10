package chaos

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"
)

// audit has the database itself note, in the transaction that does it, which events write each row of the steps, and when a position goes
// back. What is written twice is noted twice, also when nothing changes by it. It is called when the tables are there.
func (c *cluster) audit() {
	c.t.Helper()
	const note = " ON workflow_steps FOR EACH ROW INSERT INTO chaos_writes (run_id, step, seq) VALUES (NEW.run_id, NEW.step, NEW.log_seq)"
	for _, q := range []string{
		"CREATE TABLE chaos_writes (run_id VARCHAR(255) NOT NULL, step INT NOT NULL, seq BIGINT UNSIGNED NOT NULL)" +
			" DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
		"CREATE TABLE chaos_back (no INT UNSIGNED NOT NULL, was BIGINT UNSIGNED NOT NULL, became BIGINT UNSIGNED NOT NULL, owner VARCHAR(255) NOT NULL)",
		"CREATE TRIGGER chaos_insert AFTER INSERT" + note,
		"CREATE TRIGGER chaos_update BEFORE UPDATE" + note,
		"CREATE TRIGGER chaos_position AFTER UPDATE ON persistd_partitions FOR EACH ROW INSERT INTO chaos_back" +
			" SELECT NEW.partition_no, OLD.position, NEW.position, NEW.owner FROM DUAL WHERE NEW.position < OLD.position",
	} {
		_, err := c.sql.ExecContext(c.t.Context(), q)
		require.NoError(c.t, err, q)
	}
}

// audited adds what the database noted to f.
func (c *cluster) audited(ctx context.Context, f *Found) error {
	err := c.read(ctx, "SELECT run_id, step, seq, COUNT(*) FROM chaos_writes GROUP BY run_id, step, seq HAVING COUNT(*) > 1",
		func(scan func(...any) error) error {
			k, seq, n := Key{Table: Steps}, uint64(0), 0
			if err := scan(&k.ID, &k.Step, &seq, &n); err != nil {
				return err
			}
			f.Twice = append(f.Twice, fmt.Sprintf("%s was written %d times by the event at %d", k, n, seq))
			return nil
		})
	if err != nil {
		return err
	}
	return c.read(ctx, "SELECT no, was, became, owner FROM chaos_back", func(scan func(...any) error) error {
		var (
			no          int
			was, became uint64
			owner       string
		)
		if err := scan(&no, &was, &became, &owner); err != nil {
			return err
		}
		f.Back = append(f.Back, fmt.Sprintf("position of partition %d went from %d back to %d, under %s", no, was, became, owner))
		return nil
	})
}
