package storetest

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// unusual are states that somebody's JSON, column or protocol would lose something of.
func unusual() map[string]State {
	raw := func(s string) State { return State{Raw: json.RawMessage(s)} }
	return map[string]State{
		"the zero state":      {},
		"null":                raw(`null`),
		"true":                raw(`true`),
		"a number":            raw(`0`),
		"a text":              raw(`"text"`),
		"an empty text":       raw(`""`),
		"an empty array":      raw(`[]`),
		"an array":            raw(`[1,"two",null,{"three":3}]`),
		"an empty object":     raw(`{}`),
		"the largest integer": {N: math.MaxInt64},
		"the lowest integer":  {N: math.MinInt64},
		"no integer of a float's": {
			N: 1<<53 + 1,
		},
		"floats":               {Any: []any{0.1, 1e-7, math.MaxFloat64, math.SmallestNonzeroFloat64, -1.5}},
		"letters of all sorts": {Text: "ÄäßéèÅ 日本語 Ελληνικά עברית 😀👩‍👩‍👧‍👦 e\u0301 \u2028\u2029 \ufeff"},
		"controls and quotes":  {Text: "\x00\x01\t\r\n\"\\/'`\x7f"},
		"markup":               {Text: "<script>alert('&amp;')</script>"},
		"SQL":                  {Text: `'); DROP TABLE workflow_steps; -- ? $1 %s`},
		"escapes as text":      {Text: `\u0041 \n \\`},
		"members of all names": {Tags: map[string]string{"": "empty", " ": "blank", "a.b": "dot", "$": "dollar", "'": "quote", "A": "1", "a": "2", "é": "3"}},
		"deep":                 raw(strings.Repeat("[", 31) + strings.Repeat("]", 31)),
		"deep objects":         raw(strings.Repeat(`{"a":`, 30) + "{}" + strings.Repeat("}", 30)),
		"many members":         {Tags: manyTags(2000)},
		"large":                {Text: noise(512 << 10)},
		"large and repetitive": {Text: strings.Repeat("again ", 500_000)},
	}
}

func manyTags(n int) map[string]string {
	tags := map[string]string{}
	for i := range n {
		tags[strings.Repeat("k", i%50)+string(rune('0'+i%10))+noise(i)[i-min(i, 8):]] = "v"
	}
	return tags
}

var states = []sentence{
	{"whatever is JSON comes back as it was, from a step", func(t *testing.T, s *suite) {
		b := s.another(t)
		for name, state := range unusual() {
			run := unique("run")
			save(t, s.st, run, 1, state)
			got, _, err := b.LoadLatest(t.Context(), run)
			require.NoError(t, err, name)
			requireState(t, state, got)
		}
	}},
	{"whatever is JSON comes back as it was, from MySQL too", func(t *testing.T, s *suite) {
		for name, state := range unusual() {
			run := unique("run")
			require.NoError(t, s.st.SaveStep(committed(t), run, 1, "", state), name)
			got, err := s.st.GetStep(t.Context(), run, 1)
			require.NoError(t, err, name)
			requireState(t, state, got.State)
		}
	}},
	{"whatever is JSON comes back as it was, from a named checkpoint", func(t *testing.T, s *suite) {
		for name, state := range unusual() {
			id := unique("checkpoint")
			require.NoError(t, s.st.SaveCheckpoint(t.Context(), id, state, 1), name)
			got, _, err := s.st.LoadCheckpoint(t.Context(), id)
			require.NoError(t, err, name)
			requireState(t, state, got)
		}
	}},
	{"whatever is JSON comes back as it was, from a V2 checkpoint", func(t *testing.T, s *suite) {
		for name, state := range unusual() {
			run := unique("run")
			require.NoError(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run, State: state}), name)
			got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
			require.NoError(t, err, name)
			requireState(t, state, got.State)
		}
	}},
	{"a state nested deeper than 31 is refused", func(t *testing.T, s *suite) {
		if s.anyDepth {
			return
		}
		run, deep := unique("run"), State{Raw: json.RawMessage(strings.Repeat("[", 32) + strings.Repeat("]", 32))}
		require.ErrorIs(t, s.st.SaveStep(t.Context(), run, 1, "", deep), client.ErrInvalidState)
		require.ErrorIs(t, s.st.SaveCheckpoint(t.Context(), run, deep, 1), client.ErrInvalidState)
		require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run, Frontier: deep}), client.ErrInvalidState)
		requireNoRun(t, s.st, run)
	}},
	{"what is not JSON is refused", func(t *testing.T, s *suite) {
		run := unique("run")
		for name, state := range map[string]State{
			"half an object": {Raw: json.RawMessage(`{"a":`)},
			"two values":     {Raw: json.RawMessage(`1 2`)},
			"a channel":      {Any: make(chan int)},
			"a function":     {Any: func() {}},
			"not a number":   {Any: math.NaN()},
			"infinite":       {Any: math.Inf(1)},
		} {
			require.ErrorIs(t, s.st.SaveStep(t.Context(), run, 1, "", state), client.ErrInvalidState, name)
			require.ErrorIs(t, s.st.SaveCheckpoint(t.Context(), run, state, 1), client.ErrInvalidState, name)
			require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run, State: state}), client.ErrInvalidState, name)
			require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run, RecordedIOs: state}), client.ErrInvalidState, name)
			ev := client.Event{Meta: map[string]any{"what": state}}
			require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run}, client.WithEvents(ev)), client.ErrInvalidState, name)
		}
		requireNoRun(t, s.st, run)
	}},
	{"a state that no message holds is refused, and the limit named", func(t *testing.T, s *suite) {
		run, large := unique("run"), State{Text: strings.Repeat("x", 8<<20)}
		err := s.st.SaveStep(t.Context(), run, 1, "", large)
		require.ErrorIs(t, err, client.ErrTooLarge)
		require.ErrorContains(t, err, "more than")
		require.Less(t, len(err.Error()), 1000, "an error does not hold the state")
		require.ErrorIs(t, s.st.SaveCheckpoint(t.Context(), run, large, 1), client.ErrTooLarge)
		require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run, State: large}), client.ErrTooLarge)
		requireNoRun(t, s.st, run)
	}},
	{"an error does not show the state", func(t *testing.T, s *suite) {
		err := s.st.SaveStep(t.Context(), unique("run"), 1, "", State{Text: "secret", Any: math.NaN()})
		require.ErrorIs(t, err, client.ErrInvalidState)
		require.NotContains(t, err.Error(), "secret")
	}},
}
