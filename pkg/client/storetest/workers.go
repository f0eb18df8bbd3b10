package storetest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var workers = []sentence{
	{"many workers save runs of their own", func(t *testing.T, s *suite) {
		stores, prefix, steps := []client.Store[State]{s.st, s.another(t)}, unique("run"), 20
		for _, err := range together(20*s.scale, func(w int) error {
			run, st := fmt.Sprint(prefix, w), stores[w%2]
			for n := 1; n <= steps; n++ {
				if err := st.SaveStep(t.Context(), run, n, node(n), State{N: int64(n)}); err != nil {
					return err
				}
				if _, step, err := stores[n%2].LoadLatest(t.Context(), run); err != nil || step != n {
					return fmt.Errorf("loaded step %d after %d: %w", step, n, err)
				}
			}
			return nil
		}) {
			require.NoError(t, err)
		}
		for w := range 20 * s.scale {
			require.Len(t, all(t, s.st.Steps(t.Context(), fmt.Sprint(prefix, w), 0, 0)), steps)
		}
	}},
	{"many workers save steps of one run", func(t *testing.T, s *suite) {
		stores, run, each, count := []client.Store[State]{s.st, s.another(t)}, unique("run"), 10, 10*s.scale
		for _, err := range together(count, func(w int) error {
			for n := range each {
				if err := stores[w%2].SaveStep(t.Context(), run, w*each+n, "", State{N: int64(w)}); err != nil {
					return err
				}
			}
			return nil
		}) {
			require.NoError(t, err)
		}
		list := all(t, s.st.Steps(t.Context(), run, 0, 0))
		require.Len(t, list, count*each)
		for n, step := range list {
			require.Equal(t, n, step.Step)
			require.Equal(t, int64(n/each), step.State.N)
		}
	}},
	{"of workers who save one step one wins, and all agree which", func(t *testing.T, s *suite) {
		stores, run := []client.Store[State]{s.st, s.another(t)}, unique("run")
		for _, err := range together(20, func(w int) error { return stores[w%2].SaveStep(t.Context(), run, 1, node(w), State{N: int64(w)}) }) {
			require.NoError(t, err)
		}
		winner, err := stores[0].GetStep(t.Context(), run, 1)
		require.NoError(t, err)
		require.Equal(t, node(int(winner.State.N)), winner.NodeID, "node and state are of one save")
		for _, st := range stores {
			requireLatest(t, st, run, 1, winner.State)
		}
	}},
	{"one worker's saves of a step stand in the order in which they were made", func(t *testing.T, s *suite) {
		run := unique("run")
		for n := range 30 {
			ctx := t.Context()
			if n%3 > 0 {
				ctx = async(t)
			}
			require.NoError(t, s.st.SaveStep(ctx, run, 1, "", State{N: int64(n)}))
		}
		requireLatest(t, s.st, run, 1, State{N: 29})
	}},
	{"all methods may be called at once", func(t *testing.T, s *suite) {
		prefix := unique("run")
		for _, err := range together(10*s.scale, func(w int) error {
			run := fmt.Sprint(prefix, w)
			cp := full()
			cp.RunID = run
			err := errors.Join(
				s.st.SaveStepBatch(t.Context(), run, numbered(1, 3)), s.st.SaveCheckpointV2(t.Context(), cp), s.st.SaveCheckpoint(t.Context(), run, State{}, w),
				s.st.CopyRun(t.Context(), run, 3, run+"-copy"), failure(s.st.Steps(t.Context(), run, 0, 0)),
				failure(s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix})), failure(s.st.ListCheckpointsV2(t.Context(), run)),
				s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error { return tx.SaveStep(run, 4, "", State{N: 4}) }),
				s.st.Flush(t.Context()), s.ping(t.Context(), s.st), s.st.DeleteRun(t.Context(), run+"-copy"),
			)
			if _, beginErr := s.st.BeginAttempt(t.Context(), run); beginErr != nil {
				err = errors.Join(err, beginErr)
			}
			return errors.Join(err, s.st.SaveStep(t.Context(), run, 2, "", State{N: 22}))
		}) {
			require.NoError(t, err)
		}
		for w := range 10 * s.scale {
			run := fmt.Sprint(prefix, w)
			requireLatest(t, s.st, run, 2, State{N: 22})
			requireNoRun(t, s.st, run+"-copy")
		}
	}},
}
