package mysqlstore

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
)

func TestI6RowAndPositionAreOfOneMoment(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	const last = 400
	var g errgroup.Group
	g.Go(func() error {
		for n := uint64(1); n <= last; n++ { // step n is written, alone, at position n
			b := batch(term, save(n, "run", int32(n), `1`))
			if err := s.Commit(t.Context(), b); err != nil {
				return err
			}
			term.Position = n
		}
		return nil
	})
	for range 3 {
		g.Go(func() error {
			for seen := uint64(0); seen < last; {
				step, _, position, err := s.Latest(t.Context(), 0, "run")
				if err != nil {
					return err
				}
				if position < seen {
					return fmt.Errorf("position %d after %d", position, seen)
				}
				if step == nil && position != 0 || step != nil && (step.Sequence != position || uint64(step.Step) != position) {
					return fmt.Errorf("step %+v at position %d", step, position)
				}
				seen = position
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
}

func TestLatestIsTheHighestStepNotTheLatestWritten(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(1, "run", 10, `"ten"`), save(2, "run", -3, `"minus three"`), save(3, "run", 9, `"nine"`), save(4, "other", 11, `1`))
	step, _, position, err := s.Latest(t.Context(), 0, "run")
	require.NoError(t, err)
	require.EqualValues(t, 4, position)
	require.EqualValues(t, 10, step.Step)
	require.EqualValues(t, 1, step.Sequence)
}

func TestLatestReadsARowThatPersistdDidNotWrite(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	_, err := look.ExecContext(t.Context(), "INSERT INTO workflow_steps (run_id, step, node_id, state, created_at) VALUES ('run', 1, 'n', '{}', NULL)")
	require.NoError(t, err)
	step, _, _, err := s.Latest(t.Context(), 0, "run")
	require.NoError(t, err)
	require.Zero(t, step.Sequence)
	require.True(t, step.SavedAt.IsZero())
}

func TestLatestReadsNoMoreRowsThanItReturns(t *testing.T) {
	t.Parallel()
	s, dsn, _ := ready(t)
	term := acquire(t, s, 0)
	var events []wire.Event
	for i := range uint64(200) {
		events = append(events, save(i+1, fmt.Sprint("run", i%4), int32(i), `1`))
	}
	commit(t, s, &term, events...)
	one := open(t, dsn, func(c *Config) { c.Readers = 1 }) // so that all is counted in one session
	require.NoError(t, one.Register(t.Context(), testLog))
	status := func() map[string]int {
		rows, err := one.readers.QueryContext(t.Context(), "SHOW SESSION STATUS WHERE Variable_name LIKE 'Handler_read%' OR"+
			" Variable_name IN ('Created_tmp_disk_tables', 'Sort_rows')")
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		all := map[string]int{}
		for rows.Next() {
			var (
				name string
				n    int
			)
			require.NoError(t, rows.Scan(&name, &n))
			all[name] = n
		}
		require.NoError(t, rows.Err())
		return all
	}
	status() // whatever the first one costs
	was := status()
	again := status()
	_, _, _, err := one.Latest(t.Context(), 0, "run1")
	require.NoError(t, err)
	is := status()
	for name, n := range is {
		cost := n - again[name] - (again[name] - was[name]) // without that of asking
		switch name {
		case "Handler_read_key", "Handler_read_last": // partition, highest step, row; once more for its end
			require.LessOrEqual(t, cost, 4, name)
		default:
			require.LessOrEqual(t, cost, 1, name)
		}
	}
}
