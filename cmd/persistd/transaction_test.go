package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// A transaction of 3,000 steps, checkpoints and events, of some 20 MB, in parts, while the worker's connection is cut in the middle of each.
func TestATransactionOfManyPartsIsAppliedOnceAndWholeThoughTheConnectionIsCut(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.audited()
	s.serveHere(hooks{})
	nats := newCutter(t, s.url)
	st, err := client.Open[json.RawMessage](t.Context(), nats.url(), client.WithCompression(0), client.WithTimeout(5*time.Minute))
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })

	const size = 3000
	for i, cuts := range [][]int{{500_000}, {10_000_000, 10_000_000}, {19_000_000}, {1, 1, 19_000_000}} {
		run := fmt.Sprintf("run-%d", i)
		_, err := st.BeginAttempt(t.Context(), run)
		require.NoError(t, err)
		nats.cutAfter(cuts...)
		err = st.WithTransaction(t.Context(), func(tx client.Tx[json.RawMessage]) error {
			for step := range size {
				require.NoError(t, tx.SaveStep(run, step, "node", noise(6700)))
			}
			require.NoError(t, tx.SaveCheckpoint("named-"+run, json.RawMessage(`1`), 7))
			require.NoError(t, tx.SaveEvents(client.Event{Msg: "done", Meta: map[string]any{"event_id": run}}))
			return tx.SaveCheckpointV2(client.CheckpointV2[json.RawMessage]{RunID: run, StepID: size, State: json.RawMessage(`1`), IdempotencyKey: run})
		})
		require.NoError(t, err)
		require.Zero(t, nats.planned(), "a cut did not happen")
		require.Equal(t, size, s.rows("run_id = ? AND attempt = 1", run), "it is committed when it returns")
		_, step, err := st.LoadCheckpoint(t.Context(), "named-"+run)
		require.NoError(t, err)
		require.Equal(t, 7, step)
	}
	require.Equal(t, 4*size, s.count("audit", "1=1"), "each step was written once")
	require.Equal(t, 4, s.count("events_outbox", "1=1"))
	require.Equal(t, 4, s.count("idempotency_keys", "1=1"))
	s.log()
}
