package langgraphgo_test

import (
	"context"
	"testing"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/pkg/client"
)

// The recipe of the documentation: LoadLatest, then Run with what it returned, under the old id. Run begins at step 1 again.
func TestTheDocumentedRecipeFindsTheOlderStepsUnlessItsAttemptHasBegun(t *testing.T) {
	t.Parallel()
	rerun := func(t *testing.T, attempts bool) (*langgraphgo.Store[state], state) {
		t.Helper()
		st := inMemory(t)
		nodes := abc()
		nodes["b"], nodes["c"], nodes["d"] = does(2, "c"), does(3, "d"), fails
		_, err := engine(t, st, nil, graph.Options{}, nodes).Run(t.Context(), "run", state{})
		require.ErrorIs(t, err, errKilled)
		if attempts {
			_, err = st.BeginAttempt(t.Context(), "run")
			require.NoError(t, err)
		}
		last, step, err := st.LoadLatest(t.Context(), "run")
		require.NoError(t, err)
		require.Equal(t, 3, step, "what the attempt before has saved is there until this one saves a step")
		nodes["b"] = fails // it is killed again, earlier
		_, err = engine(t, st, nil, graph.Options{}, nodes).Run(t.Context(), "run", last)
		require.ErrorIs(t, err, errKilled)
		return st, append1(last, state{Done: []int{1}})
	}
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		st, _ := rerun(t, false)
		requireLatest(t, st, "run", 3, state{Done: []int{1, 2, 3}}) // the second run's work is behind the first one's
	})
	t.Run("with", func(t *testing.T) {
		t.Parallel()
		st, worked := rerun(t, true)
		requireLatest(t, st, "run", 1, worked)
	})
}

func TestAnAttemptsNumberGoesThroughTheEngineWithItsContext(t *testing.T) {
	t.Parallel()
	st := inMemory(t)
	e := engine(t, st, nil, graph.Options{}, abc())
	_, err := e.Run(client.ContextWithAttempt(t.Context(), 2), "run", state{})
	require.NoError(t, err)
	for step, err := range st.Client().Steps(t.Context(), "run", 0, 0) {
		require.NoError(t, err)
		require.Equal(t, 2, step.Attempt)
	}
	ctx := langgraphgo.ContextWithStoreError(client.ContextWithAttempt(t.Context(), 1))
	_, err = e.Run(ctx, "run", state{})
	var failed *graph.EngineError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "STORE_ERROR", failed.Code)
	require.NotErrorIs(t, err, client.ErrStaleAttempt, "the engine keeps the text alone")
	require.ErrorIs(t, langgraphgo.StoreError(ctx), client.ErrStaleAttempt)
}

// after is which node of abc follows.
func after(node string, _ state) string { return map[string]string{"a": "b", "b": "c"}[node] }

func TestARunIsResumedWhereItWasKilled(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		killedAt string
		step     int
	}{"before its first step": {"a", 0}, "before its second": {"b", 1}, "before its last": {"c", 2}, "after it": {"", 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, nodes := inMemory(t), abc()
			if tt.killedAt != "" {
				nodes[tt.killedAt] = fails
			}
			_, _ = engine(t, st, nil, graph.Options{}, nodes).Run(t.Context(), "run", state{Text: "first"})

			e := engine(t, st, nil, graph.Options{MaxSteps: 3}, abc())
			cp, err := st.Resume(t.Context(), "run", after)
			var final state
			if tt.step == 0 {
				require.Same(t, store.ErrNotFound, err)
				final, err = e.Run(t.Context(), "run", state{Text: "first"})
			} else {
				require.NoError(t, err)
				require.Equal(t, tt.step, cp.StepID)
				final, err = e.RunWithCheckpoint(t.Context(), cp)
			}
			require.NoError(t, err)
			require.Equal(t, state{Done: []int{1, 2, 3}, Text: "first"}, final)
			requireLatest(t, st, "run", 3, final)
			requireSteps(t, st, "run", "a", "b", "c")
		})
	}
}

func TestAWorkerThatWasOnlyThoughtDeadCanSaveNothingMore(t *testing.T) {
	t.Parallel()
	data := client.NewMemStore[state]()
	slow, heir := langgraphgo.New[state](data), langgraphgo.New[state](data.Open())
	entered, let := make(chan struct{}), make(chan struct{})
	nodes := abc()
	nodes["b"] = func(ctx context.Context, s state) graph.NodeResult[state] {
		close(entered)
		<-let
		return does(-2, "c")(ctx, s)
	}
	ctx, outcome := langgraphgo.ContextWithStoreError(t.Context()), make(chan error, 1)
	e := engine(t, slow, nil, graph.Options{}, nodes)
	go func() {
		_, err := e.Run(ctx, "run", state{})
		outcome <- err
	}()
	<-entered

	cp, err := heir.Resume(t.Context(), "run", after)
	require.NoError(t, err)
	final, err := engine(t, heir, nil, graph.Options{}, abc()).RunWithCheckpoint(t.Context(), cp)
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3}, final.Done)

	close(let)
	require.ErrorContains(t, <-outcome, "STORE_ERROR")
	require.ErrorIs(t, langgraphgo.StoreError(ctx), client.ErrStaleAttempt)
	requireLatest(t, heir, "run", 3, final)
	requireSteps(t, heir, "run", "a", "b", "c")
}

func TestARunIsResumedAgainAndAgain(t *testing.T) {
	t.Parallel()
	st, seen := inMemory(t), []int{}
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "a", state{Done: []int{1}}))
	for {
		cp, err := st.Resume(t.Context(), "run", after)
		require.NoError(t, err)
		seen = append(seen, cp.StepID)
		nodes := map[string]graph.NodeFunc[state]{"a": fails, "b": does(2, "c"), "c": does(3, "")}
		if cp.StepID == 1 {
			nodes["c"] = fails
		}
		if _, err = engine(t, st, nil, graph.Options{}, nodes).RunWithCheckpoint(t.Context(), cp); err == nil && len(seen) == 3 {
			break
		}
	}
	require.Equal(t, []int{1, 2, 3}, seen, "the last time there was nothing left to do")
	requireLatest(t, st, "run", 3, state{Done: []int{1, 2, 3}})
	n, err := st.BeginAttempt(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 4, n)
}
