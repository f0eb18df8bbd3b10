package client_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// Each read asks persistd with what it was given, and returns what it answers.
func TestReadsAskAndAreAnswered(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	st := l.open(t)
	ask := func(verb, reply string) *string {
		var asked string
		d.answer(t, verb, func(m *nats.Msg) {
			asked = string(m.Data)
			d.reply(m, json.RawMessage(reply))
		})
		return &asked
	}
	const saved = `"sequence":3,"saved_at":"2026-01-02T03:04:05Z","state":{"n":4}`
	asked := ask(wire.VerbCheckpoint, `{"checkpoint":{"step":2,`+saved+`}}`)
	got, step, err := st.LoadCheckpoint(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, 2, step)
	require.Equal(t, state{N: 4}, got)
	require.JSONEq(t, `{"checkpoint_id":"c"}`, *asked)

	asked = ask(wire.VerbCheckpointV2, `{"checkpoint":{"step_id":2,"frontier":[1],"recorded_ios":null,"label":"l",`+saved+`}}`)
	cp, err := st.LoadCheckpointV2ByLabel(t.Context(), "run", "l")
	require.NoError(t, err)
	require.Equal(t, 2, cp.StepID)
	require.JSONEq(t, `{"run_id":"run","label":"l"}`, *asked)
	_, err = st.LoadCheckpointV2(t.Context(), "run", 0)
	require.NoError(t, err)
	require.JSONEq(t, `{"run_id":"run","step_id":0}`, *asked)

	asked = ask(wire.VerbIdempotency, `{"used":true}`)
	used, err := st.CheckIdempotency(t.Context(), "key")
	require.NoError(t, err)
	require.True(t, used)
	require.JSONEq(t, `{"key":"key"}`, *asked)

	asked = ask(wire.VerbSteps, `{"steps":[{"step":5,"node_id":"n",`+saved+`}]}`)
	one, err := st.GetStep(t.Context(), "run", 5)
	require.NoError(t, err)
	require.Equal(t, state{N: 4}, one.State)
	require.JSONEq(t, `{"run_id":"run","from":5,"limit":1}`, *asked)
	_, err = st.GetStep(t.Context(), "run", 4)
	require.ErrorIs(t, err, client.ErrNotFound)

	asked = ask(wire.VerbEvents, `{"events":[{"event_id":"e","run_id":"run","data":{"Msg":"m"}}]}`)
	events, err := st.PendingEvents(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, []client.Event{{RunID: "run", Msg: "m", Meta: map[string]any{"event_id": "e"}}}, events)
	require.Contains(t, *asked, `"limit":3`)

	asked = ask(wire.VerbEmitted, `{"marked":1}`)
	require.NoError(t, st.MarkEventsEmitted(t.Context(), []string{"e"}))
	require.JSONEq(t, `{"event_ids":["e"]}`, *asked)

	asked = ask(wire.VerbRuns, `{"runs":[{"run_id":"run","last_step":5}]}`)
	for run, err := range st.ListRuns(t.Context(), client.RunFilter{Prefix: "r", Limit: 7}) {
		require.NoError(t, err)
		require.Equal(t, 5, run.LastStep)
	}
	require.JSONEq(t, `{"prefix":"r","limit":7}`, *asked)
}

func TestReadsOfAKeyWaitForWhatTheClientHasQueuedForIt(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	for _, verb := range []string{wire.VerbCheckpoint, wire.VerbSteps} {
		d.answer(t, verb, func(m *nats.Msg) { d.reply(m, struct{}{}) })
	}
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithDurability(client.Async))
	_, _, err := st.LoadCheckpoint(t.Context(), "c")
	require.ErrorIs(t, err, client.ErrNotFound)
	p.holdRequests(true)
	require.NoError(t, st.SaveCheckpoint(t.Context(), "c", state{}, 1))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", state{}))
	_, _, err = st.LoadCheckpoint(within(t, soon), "c")
	require.ErrorContains(t, err, "own queued")
	_, err = st.GetStep(within(t, soon), "run", 1)
	require.ErrorContains(t, err, "own queued")
	p.holdRequests(false)
	_, err = st.GetStep(t.Context(), "run", 1)
	require.ErrorIs(t, err, client.ErrNotFound)
	require.Len(t, l.requireEvents(t), 1+1)
}

func TestACopiedRunIsWhatItWasToTheLastDigit(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	d.answer(t, wire.VerbSteps, func(m *nats.Msg) { d.reply(m, struct{}{}) })
	d.answer(t, wire.VerbCheckpointsV2, func(m *nats.Msg) {
		if strings.Contains(string(m.Data), `"copy"`) { // which is not there yet
			d.reply(m, struct{}{})
			return
		}
		d.reply(m, json.RawMessage(`{"checkpoints":[{"step_id":1,"rng_seed":-9007199254740993,"idempotency_key":"key","timestamp":"2026-01-02T03:04:05.000006Z",`+
			`"state":{"n":9007199254740993},"frontier":[9007199254740993],"recorded_ios":{"big":18446744073709551615}}]}`))
	})
	require.NoError(t, open[map[string]any](t, l.url).CopyRun(t.Context(), "run", 5, "copy"))
	op := l.requireEvents(t)[0].Ops[0]
	require.JSONEq(t, `{"n":9007199254740993}`, string(op.State))
	require.Equal(t, `[9007199254740993]`, string(op.V2.Frontier))
	require.Equal(t, `{"big":18446744073709551615}`, string(op.V2.RecordedIOs))
	require.Equal(t, int64(-9007199254740993), op.V2.RNGSeed)
	require.Empty(t, op.V2.Key)
}

func TestAWatchWaitsNoLongerThanItsCallsMayTake(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	held := 0
	d.answer(t, wire.VerbWatch, func(m *nats.Msg) {
		var request wire.WatchRequest
		if err := json.Unmarshal(m.Data, &request); err != nil {
			d.refuse(m, "400", err.Error())
			return
		}
		reply := wire.WatchReply{Cursor: "1.1.1"}
		if held++; held > 2 {
			reply.Steps = []wire.StepRecord{{Step: 1, State: []byte(`{"n":1}`)}}
		} else {
			<-time.After(time.Duration(request.WaitMS) * time.Millisecond)
		}
		d.reply(m, reply)
	})
	for step, err := range l.open(t, client.WithTimeout(2*soon)).WatchRun(t.Context(), "run", 0) {
		require.NoError(t, err)
		require.Equal(t, 1, step.Step)
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, err := range l.open(t).WatchRun(ctx, "run", 0) {
		require.NoError(t, err, "that the ctx ends is none")
		cancel()
	}
	cancel()
}

// What another client saved may be any JSON, and must not hold up the others.
func TestEventsThatAreNoneOfThisPackageAreGivenOutWithTheirData(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	d.answer(t, wire.VerbEvents, func(m *nats.Msg) {
		d.reply(m, json.RawMessage(`{"events":[{"event_id":"a","run_id":"run","data":["paid",1]},{"event_id":"b","run_id":"run","data":{"Step":"x"}}]}`))
	})
	events, err := l.open(t).PendingEvents(t.Context(), 3)
	require.NoError(t, err)
	require.Equal(t, []client.Event{
		{RunID: "run", Meta: map[string]any{"event_id": "a", "data": []any{"paid", 1.0}}},
		{RunID: "run", Meta: map[string]any{"event_id": "b", "data": map[string]any{"Step": "x"}}},
	}, events)
}
