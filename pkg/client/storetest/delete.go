package storetest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var deletes = []sentence{
	{"a run that is deleted has no steps and no V2 checkpoints, for nobody", func(t *testing.T, s *suite) {
		run, b := unique("run"), s.another(t)
		saveSteps(t, s.st, run, 5)
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 1, Label: "label"})
		s.list(t, client.RunFilter{Prefix: run}, 1)
		require.NoError(t, b.DeleteRun(t.Context(), run))
		for _, st := range []client.Store[State]{s.st, b} {
			requireNoRun(t, st, run)
			require.Empty(t, all(t, st.Steps(t.Context(), run, 0, 0)))
			_, err := st.GetStep(t.Context(), run, 1)
			require.ErrorIs(t, err, client.ErrNotFound)
			require.Empty(t, all(t, st.ListCheckpointsV2(t.Context(), run)))
			_, err = st.LoadCheckpointV2ByLabel(t.Context(), run, "label")
			require.ErrorIs(t, err, client.ErrNotFound)
			_, err = st.LoadLatestCheckpointV2(t.Context(), run)
			require.ErrorIs(t, err, client.ErrNotFound)
		}
		s.eventually(t, func(c *assert.CollectT) {
			require.Empty(c, all(c, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: run})))
		})
	}},
	{"what was saved just before is deleted, too", func(t *testing.T, s *suite) {
		for range 5 {
			run := unique("run")
			save(t, s.st, run, 1, State{})
			require.NoError(t, s.st.SaveStep(async(t), run, 2, "", State{}))
			require.NoError(t, s.st.DeleteRun(t.Context(), run))
			requireNoRun(t, s.st, run)
		}
	}},
	{"the keys that guarded its V2 checkpoints are unused again", func(t *testing.T, s *suite) {
		cp := full()
		saveV2(t, s.st, cp)
		require.NoError(t, s.st.DeleteRun(t.Context(), cp.RunID))
		requireUsed(t, s.st, cp.IdempotencyKey, false)
		cp.State.N = 99
		saveV2(t, s.st, cp)
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), cp.RunID)
		require.NoError(t, err)
		requireV2(t, cp, got)
	}},
	{"keys of other runs stay used", func(t *testing.T, s *suite) {
		one, other := full(), full()
		saveV2(t, s.st, one)
		saveV2(t, s.st, other)
		require.NoError(t, s.st.DeleteRun(t.Context(), one.RunID))
		requireUsed(t, s.st, other.IdempotencyKey, true)
	}},
	{"a run that was deleted may be made again", func(t *testing.T, s *suite) {
		run := unique("run")
		for round := 1; round <= 3; round++ {
			saveSteps(t, s.st, run, 5-round)
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: round})
			requireLatest(t, s.another(t), run, 5-round, State{N: int64(5 - round)})
			require.Len(t, all(t, s.st.Steps(t.Context(), run, 0, 0)), 5-round)
			require.Len(t, all(t, s.st.ListCheckpointsV2(t.Context(), run)), 1)
			require.NoError(t, s.st.DeleteRun(t.Context(), run))
		}
		requireNoRun(t, s.st, run)
	}},
	{"runs with ids like it are not deleted", func(t *testing.T, s *suite) {
		run := unique("run")
		like := []string{strings.ToUpper(run), run + "%", run + "x", "r%", run[:len(run)-1], run + "é", run + "e"}
		for n, id := range like {
			save(t, s.st, id, n, State{})
		}
		save(t, s.st, run, 1, State{})
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		require.NoError(t, s.st.DeleteRun(t.Context(), run+"_"))
		for n, id := range like {
			requireLatest(t, s.st, id, n, State{})
		}
	}},
	{"named checkpoints stay, also those that a transaction of the run saved", func(t *testing.T, s *suite) {
		run, named := unique("run"), unique("checkpoint")
		require.NoError(t, s.st.SaveCheckpoint(t.Context(), run, State{N: 1}, 1))
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			require.NoError(t, tx.SaveStep(run, 1, "", State{}))
			return tx.SaveCheckpoint(named, State{N: 2}, 1)
		}))
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		requireCheckpoint(t, s.st, run, 1, State{N: 1})
		requireCheckpoint(t, s.st, named, 1, State{N: 2})
	}},
	{"a run that is not there is no error, once or twice", func(t *testing.T, s *suite) {
		run := unique("run")
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		save(t, s.st, run, 1, State{})
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		requireNoRun(t, s.st, run)
	}},
}
