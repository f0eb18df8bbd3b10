package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// Where keys are removed for their age, an event whose key is not there may have been a duplicate: it is not applied, unless that is asked for.
func TestReplayLeavesOutWhatKeysNoLongerTellOf(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	st := s.open()
	cp := client.CheckpointV2[json.RawMessage]{RunID: "run", StepID: 1, State: json.RawMessage(`1`), IdempotencyKey: "key"}
	require.NoError(t, st.SaveCheckpointV2(t.Context(), cp))
	cp.State, cp.IdempotencyKey = json.RawMessage(`2`), ""
	require.NoError(t, st.SaveCheckpointV2(t.Context(), cp))
	cp.State, cp.IdempotencyKey = json.RawMessage(`3`), "key"
	require.ErrorIs(t, st.SaveCheckpointV2(t.Context(), cp), client.ErrDuplicate)
	s.exec("DELETE FROM idempotency_keys") // as the retention does, once the checkpoint has it no more
	state := func() int { return s.scalar("SELECT CAST(CAST(state AS CHAR) AS SIGNED) FROM workflow_checkpoints_v2") }

	kept := func(args ...string) replayed {
		t.Helper()
		out, err := persistd(t.Context(), s.settings("PERSISTD_RETENTION_IDEMPOTENCY_KEYS=48h", "PERSISTD_STREAM_REPLAY_WINDOW=24h"),
			append([]string{"replay", "-o", "json"}, args...)...)
		require.NoError(t, err)
		var r replayed
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		return r
	}
	r := kept()
	require.EqualValues(t, 2, r.Counts.Untold)
	require.EqualValues(t, 1, r.Counts.Applied)
	require.Equal(t, 2, state())
	r = kept("--apply-untold", "--restart")
	require.Zero(t, r.Counts.Untold)
	require.EqualValues(t, 1, r.Counts.Duplicates, "within the log the first one wins")
	require.Equal(t, 2, state())
}
