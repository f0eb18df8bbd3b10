package storetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// State is the state that the tests save.
type State struct {
	N    int64             `json:"n"`
	Text string            `json:"text,omitempty"`
	Tags map[string]string `json:"tags,omitempty"`
	Any  any               `json:"any,omitempty"`
	// Raw, when it is set, is all of the state's JSON: a state need not be an object.
	Raw json.RawMessage `json:"-"`
}

type plainState State

// MarshalJSON implements [json.Marshaler].
func (s State) MarshalJSON() ([]byte, error) {
	if s.Raw != nil {
		return s.Raw, nil
	}
	b, err := json.Marshal(plainState(s))
	if err != nil {
		return nil, fmt.Errorf("marshal state: %w", err)
	}
	return b, nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *State) UnmarshalJSON(data []byte) error {
	var is struct {
		N *json.RawMessage `json:"n"`
	}
	if err := json.Unmarshal(data, &is); err != nil || is.N == nil { // no object, or not one of ours
		*s = State{Raw: bytes.Clone(data)}
		return nil //nolint:nilerr // it is JSON, or nobody would have called.
	}
	if err := json.Unmarshal(data, (*plainState)(s)); err != nil {
		return fmt.Errorf("unmarshal state: %w", err)
	}
	return nil
}

// requireState compares what was loaded with what was saved: the values, not how their JSON is written.
func requireState(t *testing.T, saved, loaded State) {
	t.Helper()
	want, err := json.Marshal(saved)
	require.NoError(t, err)
	got, err := json.Marshal(loaded)
	require.NoError(t, err)
	require.JSONEq(t, string(want), string(got))
	require.Equal(t, saved.N, loaded.N, "JSONEq takes numbers as floats")
}

// node is the node of a step.
func node(step int) string { return fmt.Sprintf("node-%d", step) }

// noise is text that does not compress.
func noise(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b, x := make([]byte, n), uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = letters[x%64]
	}
	return string(b)
}
