package storetest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var attempts = []sentence{
	{"attempts are counted from 1, each run's its own, whoever begins them", func(t *testing.T, s *suite) {
		run, stores := unique("run"), []client.Store[State]{s.st, s.another(t)}
		for n := 1; n <= 4; n++ {
			requireBegin(t, stores[n%2], run, n)
		}
		requireBegin(t, s.st, unique("run"), 1)
	}},
	{"attempts that begin at once have different numbers", func(t *testing.T, s *suite) {
		run, stores := unique("run"), []client.Store[State]{s.another(t), s.another(t), s.another(t)}
		numbers := make([]int, 9)
		for _, err := range together(len(numbers), func(n int) (err error) {
			numbers[n], err = stores[n%3].BeginAttempt(t.Context(), run)
			return err
		}) {
			require.NoError(t, err)
		}
		require.ElementsMatch(t, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, numbers)
	}},
	{"a run that begins again is loaded from the newest attempt that saved a step", func(t *testing.T, s *suite) {
		run, first, second := unique("run"), s.another(t), s.another(t)
		requireBegin(t, first, run, 1)
		saveSteps(t, first, run, 5)
		requireBegin(t, second, run, 2)
		requireLatest(t, s.st, run, 5, State{N: 5})
		save(t, second, run, 1, State{N: 21})
		requireLatest(t, s.st, run, 1, State{N: 21})
		save(t, second, run, 2, State{N: 22})
		for _, st := range []client.Store[State]{first, second, s.st} {
			requireLatest(t, st, run, 2, State{N: 22})
		}
	}},
	{"steps are those of all attempts, and say whose they are", func(t *testing.T, s *suite) {
		run, first, second := unique("run"), s.another(t), s.another(t)
		save(t, s.st, run, 1, State{N: 1})
		save(t, s.st, run, 4, State{N: 4})
		requireBegin(t, first, run, 1)
		save(t, first, run, 2, State{N: 12})
		save(t, first, run, 3, State{N: 13})
		requireBegin(t, second, run, 2)
		save(t, second, run, 2, State{N: 22})
		list := all(t, s.st.Steps(t.Context(), run, 0, 0))
		require.Len(t, list, 4)
		for n, want := range []struct {
			attempt int
			n       int64
		}{{0, 1}, {2, 22}, {1, 13}, {0, 4}} {
			require.Equal(t, n+1, list[n].Step)
			require.Equal(t, want.attempt, list[n].Attempt)
			require.Equal(t, want.n, list[n].State.N)
		}
		listed := s.list(t, client.RunFilter{Prefix: run}, 1)
		s.eventually(t, func(c *assert.CollectT) {
			listed = all(c, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: run}))
			require.Len(c, listed, 1)
			require.Equal(c, 2, listed[0].Attempt)
			require.Equal(c, 2, listed[0].LastStep)
		})
	}},
	{"writes of an older attempt are refused, whatever they write", func(t *testing.T, s *suite) {
		run, old, named := unique("run"), s.another(t), unique("checkpoint")
		requireBegin(t, old, run, 1)
		save(t, old, run, 1, State{N: 1})
		requireBegin(t, s.another(t), run, 2)
		ctx := committed(t)
		for name, err := range map[string]error{
			"a step":          old.SaveStep(ctx, run, 1, "", State{N: 2}),
			"steps":           old.SaveStepBatch(ctx, run, numbered(1, 3)),
			"a V2 checkpoint": old.SaveCheckpointV2(ctx, client.CheckpointV2[State]{RunID: run}),
			"deleting":        old.DeleteRun(ctx, run),
			"a transaction": old.WithTransaction(ctx, func(tx client.Tx[State]) error {
				return errors.Join(tx.SaveStep(run, 5, "", State{}), tx.SaveCheckpoint(named, State{}, 1))
			}),
		} {
			require.ErrorIs(t, err, client.ErrStaleAttempt, name)
		}
		requireLatest(t, s.st, run, 1, State{N: 1})
		require.Empty(t, all(t, s.st.ListCheckpointsV2(t.Context(), run)))
		_, _, err := s.st.LoadCheckpoint(t.Context(), named)
		require.ErrorIs(t, err, client.ErrNotFound)
	}},
	{"writes of no attempt are refused once one has begun", func(t *testing.T, s *suite) {
		run := unique("run")
		save(t, s.st, run, 1, State{N: 1})
		requireBegin(t, s.another(t), run, 1)
		require.ErrorIs(t, s.st.SaveStep(committed(t), run, 2, "", State{}), client.ErrStaleAttempt)
		require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run}), client.ErrStaleAttempt)
		requireLatest(t, s.st, run, 1, State{N: 1})
	}},
	{"a stale worker learns it in every durability", func(t *testing.T, s *suite) {
		run, old := unique("run"), s.another(t)
		requireBegin(t, old, run, 1)
		requireBegin(t, s.another(t), run, 2)
		require.ErrorIs(t, old.SaveStep(t.Context(), run, 1, "", State{}), client.ErrStaleAttempt)
		err := old.SaveStep(async(t), run, 1, "", State{})
		require.ErrorIs(t, errors.Join(err, old.Flush(t.Context())), client.ErrStaleAttempt)
		requireNoRun(t, s.st, run)
	}},
	{"other runs, and named checkpoints, go on without an attempt", func(t *testing.T, s *suite) {
		run, other, named := unique("run"), unique("run"), unique("checkpoint")
		requireBegin(t, s.another(t), run, 1)
		save(t, s.st, other, 1, State{N: 1})
		require.NoError(t, s.st.SaveCheckpoint(t.Context(), named, State{N: 2}, 1))
		requireLatest(t, s.st, other, 1, State{N: 1})
	}},
	{"a ctx may say the attempt, whatever the store's is", func(t *testing.T, s *suite) {
		run, st := unique("run"), s.another(t)
		require.NoError(t, st.SaveStep(ofAttempt(t, 3), run, 1, "", State{N: 3}))
		got, err := st.GetStep(t.Context(), run, 1)
		require.NoError(t, err)
		require.Equal(t, 3, got.Attempt)
		require.ErrorIs(t, st.SaveStep(ofAttempt(t, 2), run, 1, "", State{}), client.ErrStaleAttempt)
		require.NoError(t, st.SaveStep(ofAttempt(t, 3), run, 2, "", State{N: 3}))
		requireBegin(t, st, run, 4)
		require.ErrorIs(t, st.SaveStep(ofAttempt(t, 0), run, 1, "", State{}), client.ErrStaleAttempt)
		require.NoError(t, st.SaveStep(ofAttempt(t, 7), run, 1, "", State{N: 7}))
		require.ErrorIs(t, st.SaveStep(committed(t), run, 1, "", State{}), client.ErrStaleAttempt, "the store's is still 4")
		requireLatest(t, s.st, run, 1, State{N: 7})
		requireBegin(t, s.st, run, 8)
	}},
	{"a store may be of an attempt from the beginning", func(t *testing.T, s *suite) {
		run := unique("run")
		first, second := s.open(t, Settings{Attempt: 1}), s.open(t, Settings{Attempt: 2})
		saveSteps(t, first, run, 3)
		save(t, second, run, 1, State{N: 21})
		require.ErrorIs(t, first.SaveStep(committed(t), run, 4, "", State{}), client.ErrStaleAttempt)
		requireLatest(t, s.st, run, 1, State{N: 21})
		requireBegin(t, first, run, 3)
		save(t, first, run, 1, State{N: 31})
		requireLatest(t, s.st, run, 1, State{N: 31})
		saveV2(t, second, client.CheckpointV2[State]{RunID: unique("run"), StepID: 1})
	}},
	{"an attempt that is no number is refused", func(t *testing.T, s *suite) {
		for _, n := range []int{-1, 1 << 40} {
			require.ErrorIs(t, s.st.SaveStep(ofAttempt(t, n), unique("run"), 1, "", State{}), client.ErrInvalidOption)
		}
	}},
	{"a run that is deleted keeps its attempt, and may be deleted by somebody without one", func(t *testing.T, s *suite) {
		run, first, second := unique("run"), s.another(t), s.another(t)
		requireBegin(t, first, run, 1)
		saveSteps(t, first, run, 5)
		requireBegin(t, second, run, 2)
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		requireNoRun(t, s.st, run)
		require.ErrorIs(t, first.SaveStep(committed(t), run, 1, "", State{}), client.ErrStaleAttempt)
		save(t, second, run, 2, State{N: 22})
		requireLatest(t, s.st, run, 2, State{N: 22})
		require.Len(t, all(t, s.st.Steps(t.Context(), run, 0, 0)), 1)
		requireBegin(t, s.st, run, 3)
	}},
	{"a newer attempt's V2 checkpoint replaces an older one's", func(t *testing.T, s *suite) {
		run := unique("run")
		for n := 1; n <= 2; n++ {
			require.NoError(t, s.st.SaveCheckpointV2(ofAttempt(t, n), client.CheckpointV2[State]{RunID: run, State: State{N: int64(n)}}))
		}
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, int64(2), got.State.N)
		err = s.st.SaveCheckpointV2(ofAttempt(t, 1), client.CheckpointV2[State]{RunID: run, StepID: 9})
		require.ErrorIs(t, err, client.ErrStaleAttempt)
	}},
}

func requireBegin(t *testing.T, st client.Store[State], run string, attempt int) {
	t.Helper()
	n, err := st.BeginAttempt(t.Context(), run)
	require.NoError(t, err)
	require.Equal(t, attempt, n)
}
