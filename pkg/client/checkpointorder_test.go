package client_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// A named checkpoint in a run's transaction goes another way than one alone, and must not overtake what was queued before it.
func TestATransactionDoesNotOvertakeTheQueuedCheckpointsThatItReplaces(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	startPersistd(t, l).position.Store(math.MaxUint64)
	st := l.open(t)
	for i := range 200 {
		require.NoError(t, st.SaveCheckpoint(async(t.Context()), "name", state{N: i}, i))
	}
	require.NoError(t, st.WithTransaction(t.Context(), func(tx client.Tx[state]) error {
		require.NoError(t, tx.SaveStep("run", 1, "node", state{}))
		return tx.SaveCheckpoint("name", state{N: 1000}, 1000)
	}))
	require.NoError(t, st.Flush(t.Context()))
	var steps []string
	for _, ev := range l.requireEvents(t) {
		for _, op := range ev.Ops {
			if op.Type == wire.OpCheckpoint {
				steps = append(steps, fmt.Sprint(op.Step))
			}
		}
	}
	require.Len(t, steps, 201)
	require.Equal(t, "1000", steps[200], "the last one that was saved is the last in the log")
}
