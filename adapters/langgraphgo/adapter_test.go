package langgraphgo_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/emit"
	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/pkg/client"
)

func TestAKeyThatWasUsedIsAnIdempotencyViolationOrSuccess(t *testing.T) {
	t.Parallel()
	st, ctx := inMemory(t), langgraphgo.ContextWithStoreError(t.Context())
	cp := store.CheckpointV2[state]{RunID: "run", StepID: 1, State: state{Text: "x"}, IdempotencyKey: "sha256:abc", Timestamp: time.Now()}
	require.NoError(t, st.SaveCheckpointV2(ctx, cp))

	cp.Timestamp = cp.Timestamp.Add(time.Hour)
	require.NoError(t, st.SaveCheckpointV2(ctx, cp), "the same again: the save that got no answer")

	cp.StepID = 2
	err := st.SaveCheckpointV2(ctx, cp)
	require.ErrorIs(t, err, graph.ErrIdempotencyViolation)
	require.ErrorIs(t, err, client.ErrDuplicate)
	require.ErrorContains(t, err, `idempotency_key "sha256:abc"`, "which is what isIdempotencyViolation of docs/store-guarantees.md looks for")
	require.NoError(t, langgraphgo.StoreError(ctx), "it is an answer")
}

func TestAFrontierLoadsAsTheEngineSavedIt(t *testing.T) {
	t.Parallel()
	st := inMemory(t)
	// 2^64-1 and its neighbour: as float64 they would be one, and neither.
	frontier := []graph.WorkItem[state]{
		{StepID: 4, OrderKey: 18446744073709551615, NodeID: "a", State: state{Done: []int{1 << 60}}, ParentNodeID: "start", EdgeIndex: 1},
		{StepID: 4, OrderKey: 18446744073709551614, NodeID: "b", Attempt: 2},
	}
	ios := []graph.RecordedIO{{
		NodeID: "a", Attempt: 1, Request: json.RawMessage(`{"q":9007199254740993}`), Response: json.RawMessage(`"yes"`), Hash: "sha256:1",
		Timestamp: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Duration: time.Second,
	}}
	require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{RunID: "run", StepID: 3, Frontier: frontier, RecordedIOs: ios}))
	got, err := st.LoadCheckpointV2(t.Context(), "run", 3)
	require.NoError(t, err)
	require.Equal(t, frontier, got.Frontier)
	require.Equal(t, ios, got.RecordedIOs)
}

func TestAFrontierOfAnotherKindLoadsAsJSON(t *testing.T) {
	t.Parallel()
	st := inMemory(t)
	tests := map[string]struct{ saved, want any }{
		"nothing":                 {nil, nil},
		"texts":                   {[]string{"a"}, []any{"a"}},
		"items of another system": {[]any{map[string]any{"node_id": "a", "priority": 3}}, []any{map[string]any{"node_id": "a", "priority": 3.0}}},
		"items that lack members": {[]any{map[string]any{"node_id": "a"}}, []any{map[string]any{"node_id": "a"}}},
		"one thing":               {map[string]any{"node": "a"}, map[string]any{"node": "a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{RunID: name, Frontier: tt.saved, RecordedIOs: tt.saved}))
			got, err := st.LoadCheckpointV2(t.Context(), name, 0)
			require.NoError(t, err)
			require.Equal(t, tt.want, got.Frontier)
			require.Equal(t, tt.want, got.RecordedIOs)
		})
	}
}

func TestTheOutboxIsDrainedWithTheirEmitter(t *testing.T) {
	t.Parallel()
	st, emitter := inMemory(t), emit.NewBufferedEmitter()
	for step, run := range []string{"a", "b", "a"} {
		require.NoError(t, st.Client().SaveCheckpointV2(t.Context(), client.CheckpointV2[state]{RunID: run, StepID: step}, client.WithEvents(
			client.Event{Step: step, NodeID: "pay", Msg: "paid", Meta: map[string]any{"cost": 0.5}})))
	}
	for want := 2; want >= 1; want-- { // in two portions
		events, err := st.PendingEvents(t.Context(), 2)
		require.NoError(t, err)
		require.Len(t, events, want)
		require.NoError(t, emitter.EmitBatch(t.Context(), events))
		var ids []string
		for _, event := range events {
			ids = append(ids, event.Meta["event_id"].(string))
		}
		require.NoError(t, st.MarkEventsEmitted(t.Context(), ids))
	}
	require.NoError(t, st.MarkEventsEmitted(t.Context(), []string{"again", "and again"}))
	history := emitter.GetHistory("a")
	require.Len(t, history, 2)
	delete(history[1].Meta, "event_id")
	require.Equal(t, emit.Event{RunID: "a", Step: 2, NodeID: "pay", Msg: "paid", Meta: map[string]any{"cost": 0.5}}, history[1])
	require.Len(t, emitter.GetHistory("b"), 1)
}

func TestAClosedStoreRefusesEverything(t *testing.T) {
	t.Parallel()
	st, ctx := langgraphgo.New[state](client.NewMemStore[state]()), t.Context()
	require.NoError(t, st.Ping(ctx))
	require.NoError(t, st.Close())
	require.NoError(t, st.Close(), "closing again is no error")
	_, _, latest := st.LoadLatest(ctx, "run")
	_, _, checkpoint := st.LoadCheckpoint(ctx, "cp")
	_, v2 := st.LoadCheckpointV2(ctx, "run", 1)
	_, idempotency := st.CheckIdempotency(ctx, "key")
	_, pending := st.PendingEvents(ctx, 1)
	_, attempt := st.BeginAttempt(ctx, "run")
	_, resume := st.Resume(ctx, "run", func(string, state) string { return "" })
	for name, err := range map[string]error{
		"SaveStep": st.SaveStep(ctx, "run", 1, "node", state{}), "LoadLatest": latest,
		"SaveCheckpoint": st.SaveCheckpoint(ctx, "cp", state{}, 1), "LoadCheckpoint": checkpoint,
		"SaveCheckpointV2": st.SaveCheckpointV2(ctx, store.CheckpointV2[state]{RunID: "run"}), "LoadCheckpointV2": v2,
		"CheckIdempotency": idempotency, "PendingEvents": pending, "MarkEventsEmitted": st.MarkEventsEmitted(ctx, []string{"id"}),
		"Ping": st.Ping(ctx), "BeginAttempt": attempt, "Resume": resume,
	} {
		require.ErrorIs(t, err, client.ErrClosed, name)
	}
}

func TestACallWhoseContextHasEndedSaysSo(t *testing.T) {
	t.Parallel()
	st := inMemory(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, st.SaveStep(ctx, "run", 1, "node", state{}), context.Canceled)
	_, _, err := st.LoadCheckpoint(ctx, "cp")
	require.ErrorIs(t, err, context.Canceled)
}

func TestTheFirstErrorOfAStoreIsRemembered(t *testing.T) {
	t.Parallel()
	st, ctx := inMemory(t), langgraphgo.ContextWithStoreError(t.Context())
	require.NoError(t, langgraphgo.StoreError(ctx))
	_, _, err := st.LoadLatest(ctx, "run")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, langgraphgo.StoreError(ctx), "that there is nothing is an answer")

	first := st.SaveStep(context.WithValue(ctx, graph.NodeIDKey, "derived"), "run ", 1, "node", state{})
	require.ErrorIs(t, first, client.ErrInvalidID)
	require.ErrorIs(t, st.SaveStep(ctx, "run", 1<<40, "node", state{}), client.ErrInvalidStep)
	require.Equal(t, first, langgraphgo.StoreError(ctx))
	var said *client.Error
	require.ErrorAs(t, langgraphgo.StoreError(ctx), &said)
	require.Equal(t, "run ", said.RunID)

	require.Error(t, st.SaveStep(t.Context(), "", 1, "node", state{}))
	require.NoError(t, langgraphgo.StoreError(t.Context()), "a ctx that was not asked to remembers nothing")
}
