package langgraphgo_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dshills/langgraph-go/graph/store"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/pkg/client"
)

// eventually is how long a test waits at most for what takes the servers' time, or the engine's.
const eventually = time.Minute

// state is what the tests save.
type state struct {
	Done  []int          `json:"done,omitempty"`
	Text  string         `json:"text,omitempty"`
	Extra map[string]any `json:"extra,omitempty"`
}

// inMemory is a store of this package on one in memory.
func inMemory(t *testing.T) *langgraphgo.Store[state] {
	t.Helper()
	st := langgraphgo.New[state](client.NewMemStore[state]())
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// The contract is LangGraph-Go's: its own store keeps it as well.
func TestTheContractHoldsInMemory(t *testing.T) {
	t.Parallel()
	contract(t, func(t *testing.T) store.Store[state] { t.Helper(); return inMemory(t) })
}

func TestTheContractHoldsForLangGraphGosOwnStore(t *testing.T) {
	t.Parallel()
	contract(t, func(*testing.T) store.Store[state] { return store.NewMemStore[state]() })
}

// contract is what LangGraph-Go's tests ask of a store, each case on a store of its own or, if it is a shared one, with ids of its own.
func contract(t *testing.T, open func(t *testing.T) store.Store[state]) {
	t.Helper()
	cases := map[string]func(t *testing.T, st store.Store[state], id string){
		"a run without steps is not found":                              noSteps,
		"the latest step is the highest":                                highestStep,
		"steps that come out of order are put in order":                 outOfOrder,
		"steps of one run are saved concurrently":                       concurrentSteps,
		"runs do not see each other's steps":                            separateRuns,
		"a named checkpoint is loaded as it was saved":                  namedCheckpoint,
		"a named checkpoint is replaced":                                replacedCheckpoint,
		"a named checkpoint that was not saved is not found":            noCheckpoint,
		"a V2 checkpoint is loaded as it was saved":                     checkpointV2,
		"a V2 checkpoint that was not saved is not found":               noCheckpointV2,
		"V2 checkpoints of a run are told apart by their step":          stepsV2,
		"V2 checkpoints need no idempotency key":                        withoutKey,
		"an idempotency key is used once":                               keyOnce,
		"of those who race for an idempotency key with others one wins": keyRace,
		"nothing is pending in an empty outbox":                         emptyOutbox,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, open(t), t.Name())
		})
	}
}

func noSteps(t *testing.T, st store.Store[state], id string) {
	_, _, err := st.LoadLatest(t.Context(), id)
	require.Same(t, store.ErrNotFound, err, "the documentation compares with ==")
}

func highestStep(t *testing.T, st store.Store[state], id string) {
	for step := 1; step <= 3; step++ {
		require.NoError(t, st.SaveStep(t.Context(), id, step, "node", state{Text: fmt.Sprint(step)}))
		requireLatest(t, st, id, step, state{Text: fmt.Sprint(step)})
	}
}

func outOfOrder(t *testing.T, st store.Store[state], id string) {
	for _, step := range []int{1, 5, 3} {
		require.NoError(t, st.SaveStep(t.Context(), id, step, "node", state{Text: fmt.Sprint(step)}))
	}
	requireLatest(t, st, id, 5, state{Text: "5"})
}

func concurrentSteps(t *testing.T, st store.Store[state], id string) {
	var g sync.WaitGroup
	for step := 1; step <= 20; step++ {
		g.Go(func() { _ = st.SaveStep(t.Context(), id, step, "node", state{Text: fmt.Sprint(step)}) })
	}
	g.Wait()
	requireLatest(t, st, id, 20, state{Text: "20"})
}

func separateRuns(t *testing.T, st store.Store[state], id string) {
	require.NoError(t, st.SaveStep(t.Context(), id+"/a", 7, "node", state{Text: "a"}))
	require.NoError(t, st.SaveStep(t.Context(), id+"/b", 2, "node", state{Text: "b"}))
	requireLatest(t, st, id+"/a", 7, state{Text: "a"})
	requireLatest(t, st, id+"/b", 2, state{Text: "b"})
}

func namedCheckpoint(t *testing.T, st store.Store[state], id string) {
	saved := map[string]state{
		id + "/empty": {},
		id + "/full":  {Done: []int{1, 2}, Text: `"<&>" ü 🚀`, Extra: map[string]any{"deep": map[string]any{"list": []any{1.5, nil, true, "x"}}}},
	}
	for name, s := range saved {
		require.NoError(t, st.SaveCheckpoint(t.Context(), name, s, len(s.Done)))
	}
	for name, s := range saved {
		got, step, err := st.LoadCheckpoint(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, s, got)
		require.Equal(t, len(s.Done), step)
	}
}

func replacedCheckpoint(t *testing.T, st store.Store[state], id string) {
	require.NoError(t, st.SaveCheckpoint(t.Context(), id, state{Text: "old"}, 3))
	require.NoError(t, st.SaveCheckpoint(t.Context(), id, state{Text: "new"}, 2))
	got, step, err := st.LoadCheckpoint(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, state{Text: "new"}, got)
	require.Equal(t, 2, step)
}

func noCheckpoint(t *testing.T, st store.Store[state], id string) {
	require.NoError(t, st.SaveStep(t.Context(), id, 1, "node", state{}), "a step is no checkpoint")
	_, _, err := st.LoadCheckpoint(t.Context(), id)
	require.Same(t, store.ErrNotFound, err, "the documentation compares with ==")
}

func checkpointV2(t *testing.T, st store.Store[state], id string) {
	saved := store.CheckpointV2[state]{
		RunID: id, StepID: 3, State: state{Text: "x"}, Frontier: []any{"later"}, RNGSeed: -1 << 63, RecordedIOs: []any{},
		IdempotencyKey: key(id), Timestamp: time.Date(2026, 2, 3, 4, 5, 6, 789000, time.UTC), Label: "before review",
	}
	require.NoError(t, st.SaveCheckpointV2(t.Context(), saved))
	got, err := st.LoadCheckpointV2(t.Context(), id, 3)
	require.NoError(t, err)
	require.Empty(t, got.RecordedIOs)
	got.RecordedIOs = saved.RecordedIOs
	require.Equal(t, saved, got)
}

func noCheckpointV2(t *testing.T, st store.Store[state], id string) {
	require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{RunID: id, StepID: 3}))
	for run, step := range map[string]int{id: 4, id + "/other": 3} {
		_, err := st.LoadCheckpointV2(t.Context(), run, step)
		require.Same(t, store.ErrNotFound, err, "%s %d", run, step)
	}
}

func stepsV2(t *testing.T, st store.Store[state], id string) {
	for step := range 3 {
		require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{
			RunID: id, StepID: step, State: state{Text: fmt.Sprint(step)}, IdempotencyKey: key(id, step),
		}))
	}
	for step := range 3 {
		requireV2(t, st, id, step, fmt.Sprint(step))
	}
}

func withoutKey(t *testing.T, st store.Store[state], id string) {
	for step := range 2 {
		require.NoError(t, st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{RunID: id, StepID: step, State: state{Text: "x"}}))
		requireV2(t, st, id, step, "x")
	}
	requireKey(t, st, "", false)
}

func keyOnce(t *testing.T, st store.Store[state], id string) {
	first := store.CheckpointV2[state]{RunID: id, StepID: 1, State: state{Text: "first"}, IdempotencyKey: key(id, 1)}
	other := store.CheckpointV2[state]{RunID: id, StepID: 3, State: state{Text: "other"}, IdempotencyKey: key(id, 1)}
	second := store.CheckpointV2[state]{RunID: id, StepID: 2, State: state{Text: "second"}, IdempotencyKey: key(id, 2)}
	requireKey(t, st, key(id, 1), false)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), first))
	requireKey(t, st, key(id, 1), true)
	require.Error(t, st.SaveCheckpointV2(t.Context(), other))
	_, err := st.LoadCheckpointV2(t.Context(), id, 3)
	require.ErrorIs(t, err, store.ErrNotFound, "what was refused is not there")
	requireKey(t, st, key(id, 2), false)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), second))
	requireV2(t, st, id, 1, "first")
	requireV2(t, st, id, 2, "second")
	requireKey(t, st, key(id, 1), true)
	requireKey(t, st, key(id, 2), true)
}

func keyRace(t *testing.T, st store.Store[state], id string) {
	var (
		g    sync.WaitGroup
		mu   sync.Mutex
		wins []int
	)
	for step := range 10 {
		g.Go(func() {
			if st.SaveCheckpointV2(t.Context(), store.CheckpointV2[state]{RunID: id, StepID: step, IdempotencyKey: key(id)}) == nil {
				mu.Lock()
				defer mu.Unlock()
				wins = append(wins, step)
			}
		})
	}
	g.Wait()
	require.Len(t, wins, 1)
	for step := range 10 {
		_, err := st.LoadCheckpointV2(t.Context(), id, step)
		if step == wins[0] {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, store.ErrNotFound)
		}
	}
}

func emptyOutbox(t *testing.T, st store.Store[state], _ string) {
	for _, limit := range []int{0, 10} {
		events, err := st.PendingEvents(t.Context(), limit)
		require.NoError(t, err)
		require.NotNil(t, events, "an empty list, not none")
		require.Empty(t, events)
	}
	require.NoError(t, st.MarkEventsEmitted(t.Context(), nil))
	require.NoError(t, st.MarkEventsEmitted(t.Context(), []string{"nobody's"}))
}

func requireLatest(t *testing.T, st store.Store[state], run string, step int, want state) {
	t.Helper()
	got, at, err := st.LoadLatest(t.Context(), run)
	require.NoError(t, err)
	require.Equal(t, step, at)
	require.Equal(t, want, got)
}

func requireV2(t *testing.T, st store.Store[state], run string, step int, text string) {
	t.Helper()
	got, err := st.LoadCheckpointV2(t.Context(), run, step)
	require.NoError(t, err)
	require.Equal(t, text, got.State.Text)
}

func requireKey(t *testing.T, st store.Store[state], key string, want bool) {
	t.Helper()
	used, err := st.CheckIdempotency(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, want, used)
}

// key is an idempotency key that nobody else has: they are global.
func key(of ...any) string { return "sha256:" + fmt.Sprint(of...) }

// within is a ctx that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
