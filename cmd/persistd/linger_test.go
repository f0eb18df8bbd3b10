package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// Each row saves a step that nobody waits for, which lingers behind the row's first, and then does something that cannot end before it is
// committed. Were nobody told that somebody waits, all rounds together would take longer than there is.
func TestWhoWaitsForACommitDoesNotWaitForALinger(t *testing.T) {
	t.Parallel()
	const (
		rounds = 60
		enough = 45 * time.Second // a round has 0.75 s of the linger's 1 s
	)
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
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			for round := range rounds {
				require.NoError(t, st.SaveStep(ctx, "run", round, "n", json.RawMessage(`{}`)))
				require.NoError(t, wait(ctx, st, round), "round %d", round)
				require.Equal(t, 1, s.rows("run_id = ? AND step = ?", "run", round))
			}
		})
	}
}
