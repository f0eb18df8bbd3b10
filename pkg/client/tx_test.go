package client_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

func TestATransactionThatIsOverTakesNothing(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := l.open(t)
	var kept client.Tx[state]
	require.NoError(t, st.WithTransaction(t.Context(), func(tx client.Tx[state]) error {
		kept = tx
		return tx.SaveStep("run", 1, "node", state{})
	}))
	require.Error(t, kept.SaveStep("run", 2, "node", state{}))
	require.Error(t, kept.SaveCheckpoint("name", state{}, 2))
	require.Error(t, kept.SaveCheckpointV2(client.CheckpointV2[state]{RunID: "run"}))
	require.Error(t, kept.SaveEvents(client.Event{RunID: "run"}))
	require.Panics(t, func() {
		_ = st.WithTransaction(t.Context(), func(tx client.Tx[state]) error {
			kept = tx
			panic("mine")
		})
	})
	require.Error(t, kept.SaveStep("run", 2, "node", state{}))
	require.Equal(t, map[string][]int{"run": {1}}, l.steps(t))
}
