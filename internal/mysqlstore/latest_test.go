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
	one, cost := counting(t, dsn)
	latest := func(run string) func() {
		return func() {
			_, _, _, err := one.Latest(t.Context(), 0, run)
			require.NoError(t, err)
		}
	}
	// Partition, attempts, the highest step, its row; and once more for its end.
	for name, n := range cost(latest("run1")) {
		if name == "Handler_read_key" || name == "Handler_read_last" {
			require.LessOrEqual(t, n, 5, name)
		} else {
			require.LessOrEqual(t, n, 1, name)
		}
	}
}

func TestLatestIsOfTheNewestAttemptThatSavedAStep(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for step := range 6 {
		putStep(t, look, "run", step, `"of none"`, 0, 1, 1+step)
	}
	latest := func() (step, attempt, begun int) {
		r, n, _, err := s.Latest(t.Context(), 0, "run")
		require.NoError(t, err)
		return int(r.Step), int(r.Attempt), int(n)
	}
	for _, tt := range []struct {
		name                 string
		begun, latest        int // of the run
		puts                 int // a step that its attempt saves, at 2 or 9
		step, attempt, known int
	}{
		{"no attempt", 0, 0, 0, 5, 0, 0},
		{"one that has saved nothing", 1, 0, 0, 5, 0, 1},
		{"one that has saved a step, which an earlier one had saved", 1, 1, 2, 2, 1, 1},
		{"one that has gone further", 2, 2, 9, 9, 2, 2},
		{"a third that has begun anew", 3, 3, 2, 2, 3, 3},
		{"a fourth that has saved nothing", 4, 3, 0, 2, 3, 4},
	} { // one after the other
		putRun(t, look, "run", tt.begun, tt.latest)
		if tt.puts > 0 {
			putStep(t, look, "run", tt.puts, `"of an attempt"`, tt.latest, 1, 100)
		}
		step, attempt, begun := latest()
		require.Equal(t, []int{tt.step, tt.attempt, tt.known}, []int{step, attempt, begun}, tt.name)
	}
	_, begun, _, err := s.Latest(t.Context(), 0, "run 2")
	require.NoError(t, err)
	require.Zero(t, begun)
	putRun(t, look, "run 2", 7, 0)
	step, begun, _, err := s.Latest(t.Context(), 0, "run 2")
	require.NoError(t, err)
	require.Nil(t, step)
	require.EqualValues(t, 7, begun)
}
