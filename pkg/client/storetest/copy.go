package storetest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var copies = []sentence{
	{"a copy has the steps and V2 checkpoints up to and with a step", func(t *testing.T, s *suite) {
		run, fork, b := unique("run"), unique("fork"), s.another(t)
		saveSteps(t, s.st, run, 6)
		for n := 2; n <= 6; n += 2 {
			saveV2(t, s.st, client.CheckpointV2[State]{
				RunID: run, StepID: n, State: State{N: int64(n)}, Frontier: []any{"f"}, RecordedIOs: "r", RNGSeed: int64(n), Timestamp: noon, Label: "label",
			})
		}
		require.NoError(t, s.st.CopyRun(t.Context(), run, 4, fork))
		requireLatest(t, b, fork, 4, State{N: 4})
		list := all(t, b.Steps(t.Context(), fork, 0, 0))
		require.Len(t, list, 4)
		for n, step := range list {
			require.Equal(t, n+1, step.Step)
			require.Equal(t, node(n+1), step.NodeID)
			require.Equal(t, int64(n+1), step.State.N)
		}
		cps := all(t, b.ListCheckpointsV2(t.Context(), fork))
		require.Len(t, cps, 2)
		for n, cp := range cps {
			original, err := s.st.LoadCheckpointV2(t.Context(), run, 2*(n+1))
			require.NoError(t, err)
			original.RunID = fork
			requireV2(t, original, cp)
		}
		requireLatest(t, b, run, 6, State{N: 6})
	}},
	{"copy and original go different ways", func(t *testing.T, s *suite) {
		run, fork := unique("run"), unique("fork")
		saveSteps(t, s.st, run, 3)
		require.NoError(t, s.st.CopyRun(t.Context(), run, math.MaxInt32, fork))
		save(t, s.st, run, 3, State{N: 33})
		save(t, s.st, fork, 4, State{N: 44})
		requireLatest(t, s.st, run, 3, State{N: 33})
		requireLatest(t, s.st, fork, 4, State{N: 44})
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		require.Len(t, all(t, s.st.Steps(t.Context(), fork, 0, 0)), 4)
	}},
	{"states are copied as they are, whatever JSON", func(t *testing.T, s *suite) {
		run, fork, states := unique("run"), unique("fork"), []State{}
		for _, state := range unusual() {
			if len(state.Text) < 1000 {
				states = append(states, state)
			}
		}
		for n, state := range states {
			save(t, s.st, run, n, state)
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n, State: state})
		}
		require.NoError(t, s.st.CopyRun(t.Context(), run, len(states), fork))
		for n, step := range all(t, s.st.Steps(t.Context(), fork, 0, 0)) {
			requireState(t, states[n], step.State)
		}
		for n, cp := range all(t, s.st.ListCheckpointsV2(t.Context(), fork)) {
			requireState(t, states[n], cp.State)
		}
	}},
	{"V2 checkpoints are copied without their keys", func(t *testing.T, s *suite) {
		cp, fork := full(), unique("fork")
		saveV2(t, s.st, cp)
		require.NoError(t, s.st.CopyRun(t.Context(), cp.RunID, cp.StepID, fork))
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), fork)
		require.NoError(t, err)
		require.Empty(t, got.IdempotencyKey)
		require.NoError(t, s.st.DeleteRun(t.Context(), fork))
		requireUsed(t, s.st, cp.IdempotencyKey, true)
	}},
	{"a run may be copied from as many copies as one likes", func(t *testing.T, s *suite) {
		run := unique("run")
		saveSteps(t, s.st, run, 3)
		for range 3 {
			fork := unique("fork")
			require.NoError(t, s.st.CopyRun(t.Context(), run, 2, fork))
			run = fork
		}
		requireLatest(t, s.st, run, 2, State{N: 2})
	}},
	{"a run that is there is not copied over", func(t *testing.T, s *suite) {
		run, steps, v2 := unique("run"), unique("run"), unique("run")
		saveSteps(t, s.st, run, 3)
		save(t, s.st, steps, 9, State{N: 9})
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: v2, StepID: 1, State: State{N: 9}})
		for _, there := range []string{steps, v2, run} {
			require.ErrorIs(t, s.st.CopyRun(t.Context(), run, 3, there), client.ErrExists)
		}
		requireLatest(t, s.st, steps, 9, State{N: 9})
		requireNoRun(t, s.st, v2)
	}},
	{"where there is nothing to copy is ErrNotFound", func(t *testing.T, s *suite) {
		fork := unique("fork")
		require.ErrorIs(t, s.st.CopyRun(t.Context(), unique("run"), 3, fork), client.ErrNotFound)
		run := unique("run")
		save(t, s.st, run, 5, State{})
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 5})
		require.ErrorIs(t, s.st.CopyRun(t.Context(), run, 4, fork), client.ErrNotFound)
		requireNoRun(t, s.st, fork)
	}},
	{"a run that has only V2 checkpoints is copied", func(t *testing.T, s *suite) {
		run, fork := unique("run"), unique("fork")
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 5})
		require.NoError(t, s.st.CopyRun(t.Context(), run, 5, fork))
		require.Len(t, all(t, s.st.ListCheckpointsV2(t.Context(), fork)), 1)
		requireNoRun(t, s.st, fork)
	}},
	{"a copy has no attempts, and no steps of an older one beyond the newest", func(t *testing.T, s *suite) {
		run, fork := unique("run"), unique("fork")
		saveSteps(t, s.st, run, 5)
		st := s.another(t)
		_, err := st.BeginAttempt(t.Context(), run)
		require.NoError(t, err)
		require.NoError(t, st.SaveStep(t.Context(), run, 3, "again", State{N: 33}))
		require.NoError(t, s.st.CopyRun(t.Context(), run, 5, fork))
		requireLatest(t, s.st, fork, 3, State{N: 33})
		list := all(t, s.st.Steps(t.Context(), fork, 0, 0))
		require.Len(t, list, 3)
		for _, step := range list {
			require.Zero(t, step.Attempt)
		}
		save(t, s.st, fork, 4, State{N: 4})
		requireLatest(t, s.st, fork, 4, State{N: 4})
	}},
	{"a long run is copied, and one that no transaction holds refused", func(t *testing.T, s *suite) {
		run, fork := unique("run"), unique("fork")
		saveSteps(t, s.st, run, 10_000)
		require.NoError(t, s.st.CopyRun(t.Context(), run, 1500, fork))
		require.Len(t, all(t, s.st.Steps(t.Context(), fork, 0, 0)), 1500)
		save(t, s.st, run, 10_001, State{})
		fork = unique("fork")
		require.ErrorIs(t, s.st.CopyRun(t.Context(), run, 10_001, fork), client.ErrTooLarge)
		requireNoRun(t, s.st, fork)
	}},
}
