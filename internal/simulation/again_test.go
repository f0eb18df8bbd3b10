package simulation

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A seed fixes what is drawn: the plan, and each call's fate by who makes it, what it is, and which of its kind it is. The order in which
// goroutines run that wake at the same nanosecond is the scheduler's, and so is which of several ready cases a select takes. What that
// leaves of reproducing is measured here: a mutation's first finding, time and again.
func TestASeedFindsTheSameAgain(t *testing.T) {
	t.Parallel()
	const times = 20
	for _, m := range []mutation{positionUnchecked, announcedBefore, lastOfFollower, sequencesUnguarded, letterAfterwards} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			seed := uint64(defaultSeed)
			for len(simulate(t, seed, m).wrong) == 0 {
				seed++
				require.Less(t, seed, uint64(2000))
			}
			found, same := 0, map[string]int{}
			for range times {
				w := simulate(t, seed, m)
				if len(w.wrong) > 0 {
					found++
				}
				same[fmt.Sprint(w.counts, w.surfaced, w.wrong)]++
			}
			most := 0
			for _, n := range same {
				most = max(most, n)
			}
			t.Logf("seed %d: found %d times of %d, the very same %d times", seed, found, times, most)
			require.GreaterOrEqual(t, found, times*3/4)
		})
	}
}
