package langgraphgo_test

import (
	"context"
	"testing"
	"time"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"
)

// What the engine does not do, on its own store: the README says so. When one of these fails, the engine has learnt it.
func TestWhatTheEngineDoesNotDo(t *testing.T) {
	t.Parallel()
	t.Run("save what follows a fan-out", func(t *testing.T) {
		t.Parallel()
		st := store.NewMemStore[state]()
		nodes := map[string]graph.NodeFunc[state]{"a": does(1, "b", "c"), "b": does(2, ""), "c": does(3, "")}
		final, err := engine(t, st, nil, graph.Options{}, nodes).Run(t.Context(), "run", state{})
		require.NoError(t, err)
		require.Equal(t, []int{1, 2, 3}, final.Done)
		requireLatest(t, st, "run", 1, state{Done: []int{1}})
	})
	t.Run("return from a concurrent frontier before its ctx ends", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		e := engine(t, store.NewMemStore[state](), nil, graph.Options{MaxConcurrentNodes: 2}, abc())
		_, err := e.RunWithCheckpoint(ctx, store.CheckpointV2[state]{RunID: "run", Frontier: []graph.WorkItem[state]{{NodeID: "c"}}})
		require.NoError(t, err)
		require.Error(t, ctx.Err(), "it has waited for that")
	})
	t.Run("replay a run that has no checkpoint 0", func(t *testing.T) {
		t.Parallel()
		st := store.NewMemStore[state]()
		_, err := engine(t, st, nil, graph.Options{MaxConcurrentNodes: 2}, abc()).Run(within(t, eventually), "run", state{})
		require.NoError(t, err)
		_, err = st.LoadCheckpointV2(t.Context(), "run", 3)
		require.NoError(t, err, "it has one")
		_, err = engine(t, st, nil, graph.Options{ReplayMode: true}, abc()).ReplayRun(t.Context(), "run")
		require.ErrorContains(t, err, "NO_CHECKPOINTS")
	})
}
