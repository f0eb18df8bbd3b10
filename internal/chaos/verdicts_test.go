package chaos

import (
	"errors"
	"fmt"

	"github.com/stretchr/testify/require"
)

// verify requires the verdicts to be what the package promises, all of them, and returns that on the ledger: what a reader saw must not
// hide what the ledger says.
func (sc *scenario) verify() Verdict {
	sc.t.Helper()
	v := sc.settled()
	var wrong []error
	if !v.Clean() {
		wrong = append(wrong, fmt.Errorf("rows that are not what was acknowledged: %+v", v))
	}
	if err := sc.board.violations(); err != nil {
		wrong = append(wrong, fmt.Errorf("reads that went back: %w", err))
	}
	if err := sc.fleet.failures(); err != nil {
		wrong = append(wrong, fmt.Errorf("calls that ended as none may: %w", err))
	}
	require.NoError(sc.t, errors.Join(wrong...))
	sc.substantial(v)
	return v
}

// substantial requires that there was something to be wrong: a verdict on nothing is clean. Most writes are acknowledged, as calls outlast
// the faults, and what nobody knows of is excused by the ledger.
func (sc *scenario) substantial(v Verdict) {
	sc.t.Helper()
	require.Greater(sc.t, v.Acked, 3*(v.Unknown+v.Refused), "%+v", v)
	require.Positive(sc.t, v.Events)
	require.Positive(sc.t, sc.linear.Counts.Found.Load(), "loads of checkpoints that were there")
	require.Greater(sc.t, sc.board.reads.Load(), sc.board.failed.Load()+sc.board.empty.Load(), "reads that saw a step")
	sc.mu.Lock()
	defer sc.mu.Unlock()
	surfaced := 0
	for _, f := range sc.injected {
		if f.surfaced {
			surfaced++
		}
	}
	require.Positive(sc.t, surfaced)
	require.GreaterOrEqual(sc.t, 5*surfaced, 4*len(sc.injected), "faults of which something was seen, of %d", len(sc.injected))
}
