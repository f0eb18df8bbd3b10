package langgraphgo_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand" //nolint:depguard // What the engine gives its nodes.
	"sync/atomic"
	"testing"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/emit"
	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/pkg/client"
)

// append1 is the reducer of the tests: what was done grows, a text replaces.
func append1(prev, delta state) state {
	prev.Done = append(append([]int{}, prev.Done...), delta.Done...)
	if delta.Text != "" {
		prev.Text = delta.Text
	}
	return prev
}

// engine is a workflow of nodes; it starts at the first one that is named "a".
func engine(t *testing.T, st store.Store[state], emitter emit.Emitter, options graph.Options, nodes map[string]graph.NodeFunc[state]) *graph.Engine[state] {
	t.Helper()
	e := graph.New(append1, st, emitter, options)
	for name, node := range nodes {
		require.NoError(t, e.Add(name, node))
	}
	require.NoError(t, e.StartAt("a"))
	return e
}

// does is a node that adds n to what was done, and goes to another one; to "" it stops.
func does(n int, to ...string) graph.NodeFunc[state] {
	return func(context.Context, state) graph.NodeResult[state] {
		r := graph.NodeResult[state]{Delta: state{Done: []int{n}}}
		switch {
		case len(to) > 1:
			r.Route = graph.Many(to)
		case to[0] == "":
			r.Route = graph.Stop()
		default:
			r.Route = graph.Goto(to[0])
		}
		return r
	}
}

// abc is three nodes in a row.
func abc() map[string]graph.NodeFunc[state] {
	return map[string]graph.NodeFunc[state]{"a": does(1, "b"), "b": does(2, "c"), "c": does(3, "")}
}

// fails is a node that cannot go on, as a process cannot that is killed there.
func fails(context.Context, state) graph.NodeResult[state] {
	return graph.NodeResult[state]{Err: errKilled}
}

var errKilled = errors.New("killed")

// engineCases are what the engine does with a store.
var engineCases = map[string]func(t *testing.T, st *langgraphgo.Store[state], run string){
	"a run saves its steps":                                 savesSteps,
	"a run goes by edges, and loops":                        edgesAndLoops,
	"a run is resumed from a named checkpoint in a new run": namedResume,
	"a node saves a checkpoint in the middle of a run":      savedInNode,
	"a concurrent run is saved at its end":                  concurrentRun,
	"a run goes on from a stored frontier":                  storedFrontier,
	"a run is replayed from what was recorded":              replayed,
}

func TestTheEngineRunsInMemory(t *testing.T) {
	t.Parallel()
	for name, run := range engineCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, inMemory(t), t.Name())
		})
	}
}

func savesSteps(t *testing.T, st *langgraphgo.Store[state], run string) {
	final, err := engine(t, st, nil, graph.Options{MaxSteps: 10}, abc()).Run(t.Context(), run, state{Text: "x"})
	require.NoError(t, err)
	require.Equal(t, state{Done: []int{1, 2, 3}, Text: "x"}, final)
	requireLatest(t, st, run, 3, final)
	requireSteps(t, st, run, "a", "b", "c")
}

func edgesAndLoops(t *testing.T, st *langgraphgo.Store[state], run string) {
	e := engine(t, st, emit.NewNullEmitter(), graph.Options{MaxSteps: 10}, map[string]graph.NodeFunc[state]{
		"a": func(context.Context, state) graph.NodeResult[state] {
			return graph.NodeResult[state]{Delta: state{Done: []int{7}}}
		},
		"b": does(8, ""),
	})
	require.NoError(t, e.Connect("a", "a", func(s state) bool { return len(s.Done) < 3 }))
	require.NoError(t, e.Connect("a", "b", nil))
	final, err := e.Run(t.Context(), run, state{})
	require.NoError(t, err)
	require.Equal(t, []int{7, 7, 7, 8}, final.Done)
	requireSteps(t, st, run, "a", "a", "a", "b")
}

// namedResume is what examples/checkpoint of LangGraph-Go does.
func namedResume(t *testing.T, st *langgraphgo.Store[state], run string) {
	e := engine(t, st, nil, graph.Options{MaxSteps: 10}, abc())
	_, err := e.Run(t.Context(), run, state{})
	require.NoError(t, err)
	require.NoError(t, e.SaveCheckpoint(t.Context(), run, run+"/reviewed"))
	final, err := e.ResumeFromCheckpoint(t.Context(), run+"/reviewed", run+"/path-b", "b")
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 3, 2, 3}, final.Done)
	requireLatest(t, st, run+"/path-b", 2, final)
	requireLatest(t, st, run, 3, state{Done: []int{1, 2, 3}})

	var failed *graph.EngineError
	require.ErrorAs(t, e.SaveCheckpoint(t.Context(), "nobody's run", "cp"), &failed)
	require.Equal(t, "RUN_NOT_FOUND", failed.Code)
	_, err = e.ResumeFromCheckpoint(t.Context(), run+"/nobody's", run+"/x", "a")
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "CHECKPOINT_NOT_FOUND", failed.Code)
}

func savedInNode(t *testing.T, st *langgraphgo.Store[state], run string) {
	nodes := abc()
	nodes["b"] = func(ctx context.Context, s state) graph.NodeResult[state] { // pattern 1 of guides/04-checkpoints.md
		return graph.NodeResult[state]{Err: st.SaveCheckpoint(ctx, run+"/validated", s, len(s.Done)), Route: graph.Goto("c")}
	}
	_, err := engine(t, st, nil, graph.Options{}, nodes).Run(t.Context(), run, state{})
	require.NoError(t, err)
	got, step, err := st.LoadCheckpoint(t.Context(), run+"/validated")
	require.NoError(t, err)
	require.Equal(t, 1, step)
	require.Equal(t, []int{1}, got.Done)
}

// concurrentRun: it saves one V2 checkpoint, at its end, and no steps. That is the engine's doing.
func concurrentRun(t *testing.T, st *langgraphgo.Store[state], run string) {
	emitter := emit.NewBufferedEmitter()
	nodes := map[string]graph.NodeFunc[state]{"a": does(1, "b", "c"), "b": does(2, "d"), "c": does(3, "d"), "d": does(4, "")}
	e := engine(t, st, emitter, graph.Options{MaxSteps: 10, MaxConcurrentNodes: 4}, nodes)
	for range 2 { // the second time it has the same idempotency key, and is not saved again
		ctx := langgraphgo.ContextWithStoreError(within(t, eventually))
		final, err := e.Run(ctx, run, state{})
		require.NoError(t, err)
		require.NoError(t, langgraphgo.StoreError(ctx))
		cp, err := st.LoadCheckpointV2(t.Context(), run, 5)
		require.NoError(t, err)
		require.ElementsMatch(t, []int{1, 2, 3, 4, 4}, final.Done)
		require.Equal(t, final, cp.State)
		require.Equal(t, []graph.WorkItem[state]{}, cp.Frontier)
	}
	require.Equal(t, 1, said(emitter, run, "checkpoint_saved"))
	require.Zero(t, said(emitter, run, "checkpoint_save_failed"))
	latest, err := st.Client().LoadLatestCheckpointV2(t.Context(), run)
	require.NoError(t, err)
	require.Equal(t, 5, latest.StepID)
	_, _, err = st.LoadLatest(t.Context(), run)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// blind does not see that a key was used, as one does not that asks a moment too early.
type blind struct{ store.Store[state] }

func (blind) CheckIdempotency(context.Context, string) (bool, error) { return false, nil }

func TestAConcurrentRunThatLosesTheRaceForItsKeyHasSucceeded(t *testing.T) {
	t.Parallel()
	emitter := emit.NewBufferedEmitter()
	options := graph.Options{MaxConcurrentNodes: 2}
	_, err := engine(t, inMemory(t), emitter, options, abc()).Run(within(t, eventually), "run", state{})
	require.NoError(t, err)
	won := emitter.GetHistoryWithFilter("run", emit.HistoryFilter{Msg: "checkpoint_saved"})
	require.Len(t, won, 1)

	st, again := inMemory(t), emit.NewBufferedEmitter()
	require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{
		RunID: "run", StepID: 3, IdempotencyKey: won[0].Meta["idempotency_key"].(string), Label: "whoever came first",
	}))
	_, err = engine(t, blind{st}, again, options, abc()).Run(within(t, eventually), "run", state{})
	require.NoError(t, err)
	require.Zero(t, said(again, "run", "checkpoint_save_failed"))
	require.Zero(t, said(again, "run", "checkpoint_saved"), "the winner's stands")
	cp, err := st.LoadCheckpointV2(t.Context(), "run", 3)
	require.NoError(t, err)
	require.Equal(t, "whoever came first", cp.Label)
}

func TestAConcurrentRunThatCouldNotBeSavedTellsItToWhoAsksTheContext(t *testing.T) {
	t.Parallel()
	st := langgraphgo.New[state](client.NewMemStore[state]())
	require.NoError(t, st.Close())
	ctx := langgraphgo.ContextWithStoreError(within(t, eventually))
	_, err := engine(t, st, nil, graph.Options{MaxConcurrentNodes: 2}, abc()).Run(ctx, "run", state{})
	require.NoError(t, err, "the engine does not say it")
	require.ErrorIs(t, langgraphgo.StoreError(ctx), client.ErrClosed)
}

func storedFrontier(t *testing.T, st *langgraphgo.Store[state], run string) {
	for name, options := range map[string]graph.Options{
		"sequential": {MaxSteps: 10},
		// With more of them RunWithCheckpoint does not end before its ctx does: the workers wait for work that never comes.
		"concurrent": {MaxSteps: 10, MaxConcurrentNodes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			run := run + "/" + name
			saved := state{Done: []int{1}}
			require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{RunID: run, StepID: 1, State: saved, Frontier: []graph.WorkItem[state]{
				{StepID: 1, OrderKey: graph.ComputeOrderKey("a", 0), NodeID: "b", State: saved, ParentNodeID: "a"},
			}}))
			cp, err := st.LoadCheckpointV2(t.Context(), run, 1)
			require.NoError(t, err)
			final, err := engine(t, st, nil, options, abc()).RunWithCheckpoint(within(t, eventually), cp)
			require.NoError(t, err)
			require.ElementsMatch(t, []int{1, 2, 3}, final.Done, "concurrent results are merged by their order keys")
			if options.MaxConcurrentNodes == 0 {
				requireLatest(t, st, run, 3, final)
			}
		})
	}
}

func replayed(t *testing.T, st *langgraphgo.Store[state], run string) {
	item := graph.WorkItem[state]{StepID: 2, NodeID: "a", OrderKey: graph.ComputeOrderKey("__start__", 0)}
	for step := range 3 { // the engine looks from step 0 up to the first gap
		require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{
			RunID: run, StepID: step, State: state{Done: []int{step}}, Frontier: []graph.WorkItem[state]{item}, RNGSeed: 42,
			RecordedIOs:    []graph.RecordedIO{{NodeID: "a", Request: json.RawMessage(`"price?"`), Response: json.RawMessage(`"12 €"`)}},
			IdempotencyKey: key(run, step),
		}))
	}
	var live atomic.Int32
	nodes := map[string]graph.NodeFunc[state]{"a": func(ctx context.Context, _ state) graph.NodeResult[state] {
		delta := state{Done: []int{ctx.Value(graph.RNGKey).(*rand.Rand).Intn(1000)}}
		ios, _ := ctx.Value(graph.RecordedIOsKey).([]graph.RecordedIO)
		if len(ios) == 0 {
			live.Add(1)
			return graph.NodeResult[state]{Err: errKilled}
		}
		return graph.NodeResult[state]{Err: json.Unmarshal(ios[0].Response, &delta.Text), Delta: delta, Route: graph.Stop()}
	}}
	e := engine(t, st, nil, graph.Options{MaxSteps: 10, ReplayMode: true, StrictReplay: true}, nodes)
	seeded := rand.New(rand.NewSource(42)).Intn(1000)
	for range 2 {
		final, err := e.ReplayRun(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, state{Done: []int{2, seeded}, Text: "12 €"}, final)
	}
	require.Zero(t, live.Load())
	var failed *graph.EngineError
	_, err := e.ReplayRun(t.Context(), "nobody's run")
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "NO_CHECKPOINTS", failed.Code)
}

// said counts what the engine said of a run.
func said(emitter *emit.BufferedEmitter, run, msg string) int {
	return len(emitter.GetHistoryWithFilter(run, emit.HistoryFilter{Msg: msg}))
}

// requireSteps checks which nodes the run's steps, from 1 on, are of.
func requireSteps(t *testing.T, st *langgraphgo.Store[state], run string, nodes ...string) {
	t.Helper()
	var got []string
	for step, err := range st.Client().Steps(t.Context(), run, 0, 0) {
		require.NoError(t, err)
		require.Equal(t, len(got)+1, step.Step)
		got = append(got, step.NodeID)
	}
	require.Equal(t, nodes, got)
}
