package simulation

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each mutation of what surrounds the code is found. within says within how many schedules, and found at which invariant.
func TestMutationsAreFound(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		mutation
		within uint64
	}{
		{fenceRemoved, 1000},
		{epochUnchecked, 1000},
		{positionUnchecked, 1000},
		{positionBefore, 1000},
		{positionAfter, 1000},
		{retryApplied, 1000},
		{eventSplit, 1000},
		{sequencesUnguarded, 1000},
		{letterAfterwards, 1000},
		{announcedBefore, 1000},
		{rowsBeforeTail, 3000},
		{lastOfFollower, 1000},
		{rememberedPosition, 3000},
		{sameGeneration, 1000},
		{replicaClock, 1000},
	} {
		t.Run(string(row.mutation), func(t *testing.T) {
			t.Parallel()
			for seed := range row.within {
				if w := simulate(t, defaultSeed+seed, row.mutation); len(w.wrong) > 0 {
					t.Logf("found by schedule %d: %s", seed+1, w.wrong[0])
					return
				}
			}
			require.Failf(t, "not found", "%s is not found by %d schedules", row.mutation, row.within)
		})
	}
}
