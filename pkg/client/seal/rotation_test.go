package seal_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
	"github.com/persistd/persistd/pkg/client/seal"
)

func TestKeysRotateWithoutAMomentInWhichAWorkerCannotRead(t *testing.T) {
	t.Parallel()
	stages := []*seal.Codec{
		newCodec(t, keyset("a")), newCodec(t, keyset("a", "b")), newCodec(t, keyset("b", "a")), newCodec(t, keyset("b")),
	}
	for i, writer := range stages {
		data := sealed(t, writer, "secret")
		for j := max(i-1, 0); j < min(i+2, len(stages)); j++ { // while a stage is rolled out
			v, err := opens(stages[j], here, data)
			require.NoError(t, err, "stage %d reads stage %d", j, i)
			require.Equal(t, "secret", v)
		}
	}
	_, err := opens(stages[3], here, sealed(t, stages[1], "secret"))
	require.ErrorIs(t, err, seal.ErrUnknownKey)
	require.ErrorContains(t, err, `key "a"`)
	require.ErrorContains(t, err, "add that key")
}

func TestAFingerprintIsThatOfTheValueAtItsPlaceWhateverTheKeys(t *testing.T) {
	t.Parallel()
	old, rotated := newCodec(t, keyset("a")), newCodec(t, keyset("b", "a"))
	fingerprint := func(codec *seal.Codec, b client.Binding, v any) string {
		data, err := codec.Fingerprint(b, v)
		require.NoError(t, err)
		require.True(t, json.Valid(data))
		return string(data)
	}
	is := fingerprint(old, here, map[string]int{"a": 1, "b": 2})
	require.Equal(t, is, fingerprint(old, here, map[string]int{"b": 2, "a": 1}))
	require.Equal(t, is, fingerprint(rotated, here, map[string]int{"a": 1, "b": 2}))
	require.NotEqual(t, is, fingerprint(old, here, map[string]int{"a": 1}))
	require.NotEqual(t, is, fingerprint(old, client.Binding{Kind: here.Kind, ID: here.ID, Step: 4}, map[string]int{"a": 1, "b": 2}))
	other := keyset("a")
	other.Fingerprint = secretOf(1)
	require.NotEqual(t, is, fingerprint(newCodec(t, other), here, map[string]int{"a": 1, "b": 2}))
}

func TestASaveIsTheSameAfterARotation(t *testing.T) {
	t.Parallel()
	st := client.NewMemStore[string](client.WithCodec(newCodec(t, keyset("a"))))
	cp := client.CheckpointV2[string]{RunID: "run", StepID: 1, State: "state", Frontier: []string{"f"}, IdempotencyKey: "key"}
	require.NoError(t, st.SaveCheckpointV2(t.Context(), cp))
	rotated := st.Open(client.WithCodec(newCodec(t, keyset("b", "a"))))
	require.NoError(t, rotated.SaveCheckpointV2(t.Context(), cp), "a retry after the rotation")
	cp.State = "other"
	require.ErrorIs(t, rotated.SaveCheckpointV2(t.Context(), cp), client.ErrDuplicate)
	require.NoError(t, rotated.CopyRun(t.Context(), "run", 1, "fork"), "what is copied is sealed for its new place")
	got, err := st.Open(client.WithCodec(newCodec(t, keyset("b")))).LoadCheckpointV2(t.Context(), "fork", 1)
	require.NoError(t, err)
	require.Equal(t, "state", got.State)
	require.Equal(t, []any{"f"}, got.Frontier)
}
