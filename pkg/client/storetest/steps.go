package storetest

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var steps = []sentence{
	{"a step that was saved is what LoadLatest returns", func(t *testing.T, s *suite) {
		run := unique("run")
		state := State{N: 7, Text: "hello", Tags: map[string]string{"a": "b"}}
		save(t, s.st, run, 3, state)
		requireLatest(t, s.st, run, 3, state)
	}},
	{"of a run that was never saved there is nothing", func(t *testing.T, s *suite) {
		requireNoRun(t, s.st, unique("nobody"))
	}},
	{"LoadLatest returns the highest step in whatever order they came", func(t *testing.T, s *suite) {
		run := unique("run")
		for _, step := range []int{2, 10, 9, 3} {
			save(t, s.st, run, step, State{N: int64(step)})
		}
		requireLatest(t, s.st, run, 10, State{N: 10})
	}},
	{"saving a step again replaces it", func(t *testing.T, s *suite) {
		run := unique("run")
		require.NoError(t, s.st.SaveStep(t.Context(), run, 5, "before", State{N: 1, Text: "x"}))
		require.NoError(t, s.st.SaveStep(t.Context(), run, 5, "after", State{N: 2}))
		requireLatest(t, s.st, run, 5, State{N: 2})
		got, err := s.st.GetStep(t.Context(), run, 5)
		require.NoError(t, err)
		require.Equal(t, "after", got.NodeID)
		requireState(t, State{N: 2}, got.State)
		require.Len(t, all(t, s.st.Steps(t.Context(), run, 0, 0)), 1)
	}},
	{"a worker sees at once what another one saved", func(t *testing.T, s *suite) {
		run, a, b := unique("run"), s.st, s.another(t)
		for step := range 10 {
			save(t, a, run, step, State{N: int64(step)})
			requireLatest(t, b, run, step, State{N: int64(step)})
			a, b = b, a
		}
	}},
	{"runs do not see each other's steps", func(t *testing.T, s *suite) {
		one, other := unique("run"), unique("run")
		save(t, s.st, one, 1, State{N: 1})
		save(t, s.st, other, 2, State{N: 2})
		requireLatest(t, s.st, one, 1, State{N: 1})
		requireLatest(t, s.st, other, 2, State{N: 2})
	}},
	{"the state may be changed when SaveStep has returned", func(t *testing.T, s *suite) {
		for _, ctx := range []context.Context{t.Context(), async(t), committed(t)} {
			run, state := unique("run"), State{Tags: map[string]string{"is": "saved"}}
			require.NoError(t, s.st.SaveStep(ctx, run, 1, "", state))
			state.Tags["is"] = "changed"
			requireLatest(t, s.st, run, 1, State{Tags: map[string]string{"is": "saved"}})
		}
	}},
	{"a step is any number of 32 bits", func(t *testing.T, s *suite) {
		run := unique("run")
		for _, step := range []int{0, math.MaxInt32, -1, math.MinInt32} {
			save(t, s.st, run, step, State{N: int64(step)})
		}
		requireLatest(t, s.st, run, math.MaxInt32, State{N: math.MaxInt32})
		var numbers []int
		for _, step := range all(t, s.st.Steps(t.Context(), run, math.MinInt32, 0)) {
			require.Equal(t, int64(step.Step), step.State.N)
			numbers = append(numbers, step.Step)
		}
		require.Equal(t, []int{math.MinInt32, -1, 0, math.MaxInt32}, numbers)
	}},
	{"the only step of a run may be negative", func(t *testing.T, s *suite) {
		run := unique("run")
		save(t, s.st, run, -3, State{N: 1})
		requireLatest(t, s.st, run, -3, State{N: 1})
	}},
	{"a step beyond 32 bits is refused by whatever takes one", func(t *testing.T, s *suite) {
		ctx, run := t.Context(), unique("run")
		for _, step := range []int{math.MaxInt32 + 1, math.MinInt32 - 1, math.MaxInt64} {
			_, getErr := s.st.GetStep(ctx, run, step)
			_, v2Err := s.st.LoadCheckpointV2(ctx, run, step)
			for name, err := range map[string]error{
				"SaveStep":         s.st.SaveStep(ctx, run, step, "", State{}),
				"SaveStepBatch":    s.st.SaveStepBatch(ctx, run, []client.Step[State]{{Step: 1}, {Step: step}}),
				"SaveCheckpoint":   s.st.SaveCheckpoint(ctx, run, State{}, step),
				"SaveCheckpointV2": s.st.SaveCheckpointV2(ctx, client.CheckpointV2[State]{RunID: run, StepID: step}),
				"Steps":            failure(s.st.Steps(ctx, run, step, 0)),
				"WatchRun":         failure(s.st.WatchRun(ctx, run, step)),
				"CopyRun":          s.st.CopyRun(ctx, run, step, unique("copy")),
				"GetStep":          getErr,
				"LoadCheckpointV2": v2Err,
			} {
				require.ErrorIs(t, err, client.ErrInvalidStep, name)
			}
		}
		requireNoRun(t, s.st, run)
	}},
	{"every durability saves", func(t *testing.T, s *suite) {
		run := unique("run")
		for n, durability := range []client.Durability{client.Async, client.Logged, client.Committed} {
			ctx := client.ContextWithDurability(t.Context(), durability)
			require.NoError(t, s.st.SaveStep(ctx, run, n, "", State{N: int64(n)}))
			require.NoError(t, s.st.Flush(t.Context()))
			requireLatest(t, s.another(t), run, n, State{N: int64(n)})
		}
	}},
	{"a durability that there is not is refused", func(t *testing.T, s *suite) {
		err := s.st.SaveStep(client.ContextWithDurability(t.Context(), 9), unique("run"), 1, "", State{})
		require.ErrorIs(t, err, client.ErrInvalidOption)
	}},
	{"a worker reads what it wrote in Async", func(t *testing.T, s *suite) {
		run := unique("run")
		for step := range 50 {
			require.NoError(t, s.st.SaveStep(async(t), run, step, "", State{N: int64(step)}))
		}
		requireLatest(t, s.st, run, 49, State{N: 49})
		require.Len(t, all(t, s.st.Steps(t.Context(), run, 0, 0)), 50)
	}},
	{"a batch of steps is saved in order", func(t *testing.T, s *suite) {
		run := unique("run")
		batch := append(numbered(1, 5), client.Step[State]{Step: 5, NodeID: "again", State: State{N: 55}})
		require.NoError(t, s.st.SaveStepBatch(t.Context(), run, batch))
		requireLatest(t, s.another(t), run, 5, State{N: 55})
		require.Len(t, all(t, s.st.Steps(t.Context(), run, 0, 0)), 5)
	}},
	{"a batch of none is no error", func(t *testing.T, s *suite) {
		run := unique("run")
		require.NoError(t, s.st.SaveStepBatch(t.Context(), run, nil))
		requireNoRun(t, s.st, run)
	}},
	{"a batch with one bad step saves none", func(t *testing.T, s *suite) {
		run := unique("run")
		err := s.st.SaveStepBatch(t.Context(), run, append(numbered(1, 5), client.Step[State]{Step: 6, State: State{Raw: []byte("{")}}))
		require.ErrorIs(t, err, client.ErrInvalidState)
		require.ErrorContains(t, err, "step 6")
		requireNoRun(t, s.st, run)
	}},
	{"an error says what was to be done, to which run and which step", func(t *testing.T, s *suite) {
		err := s.st.SaveStep(t.Context(), "trailing ", 4, "", State{})
		var typed *client.Error
		require.ErrorAs(t, err, &typed)
		require.Equal(t, "trailing ", typed.RunID)
		require.Equal(t, 4, typed.Step)
		require.ErrorContains(t, err, "save step 4")
		_, _, err = s.st.LoadCheckpoint(t.Context(), "nobody's")
		require.ErrorAs(t, err, &typed)
		require.Equal(t, "nobody's", typed.CheckpointID)
	}},
}
