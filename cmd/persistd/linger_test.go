package main

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// Each row saves a step that nobody waits for, which lingers behind the row's first, and then does something that cannot end before it is
// committed. Were nobody told that somebody waits, no round would be much shorter than the linger.
func TestWhoWaitsForACommitDoesNotWaitForALinger(t *testing.T) {
	t.Parallel()
	const rounds = 31
	for name, wait := range map[string]func(ctx context.Context, st client.Store[json.RawMessage], round int) error{
		"a step to be committed": func(ctx context.Context, st client.Store[json.RawMessage], round int) error {
			return st.SaveStep(client.ContextWithDurability(ctx, client.Committed), "run", 1_000_000+round, "n", json.RawMessage(`{}`))
		},
		"a read of what MySQL must have first": func(ctx context.Context, st client.Store[json.RawMessage], round int) error {
			_, err := st.GetStep(ctx, "run", round)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			s.serveHere(hooks{}, "PERSISTD_BATCH_LINGER=1s", "PERSISTD_STREAM_PARTITIONS=1")
			st := s.open()
			var took []time.Duration
			for round := range rounds {
				began := time.Now()
				require.NoError(t, st.SaveStep(t.Context(), "run", round, "n", json.RawMessage(`{}`)))
				require.NoError(t, wait(t.Context(), st, round), "round %d", round)
				took = append(took, time.Since(began))
				require.Equal(t, 1, s.rows("run_id = ? AND step = ?", "run", round))
			}
			slices.Sort(took)
			require.Less(t, took[rounds/2], 750*time.Millisecond, "of the linger's 1 s; the longest %s", took[rounds-1])
		})
	}
}
