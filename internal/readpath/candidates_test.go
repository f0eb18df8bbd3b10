package readpath

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/wire"
)

// A run whose steps rise is read with one state in memory, however long its tail is and whatever else is in it.
func TestTailOfARunWhoseStepsRiseHoldsOneState(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var (
			tail    runTail
			step    int32
			attempt uint32
		)
		for seq := range rapid.Uint64Range(1, 200).Draw(t, "events") {
			ev := wire.Event{Message: wire.Message{Sequence: seq + 1}, Attempt: attempt}
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				attempt++
				step, ev.Attempt = 0, attempt
			case 1:
				ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpDeleteRun})
			case 2:
				if attempt > 0 { // an older attempt's, which goes on with high steps
					tail.see(&wire.Event{Attempt: attempt - 1, Ops: []wire.Op{{Type: wire.OpStep, Step: 1000 - step}}})
				}
			}
			for range rapid.IntRange(1, 3).Draw(t, "steps") {
				step++
				ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpStep, Step: step})
			}
			tail.see(&ev)
			require.LessOrEqual(t, len(tail.now.steps), 1)
		}
	})
}

func TestTailOfARunHoldsAtMostOneStateOfEachStep(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var tail runTail
		for seq := range rapid.Uint64Range(1, 100).Draw(t, "events") {
			tail.see(&wire.Event{
				Message: wire.Message{Sequence: seq + 1}, Attempt: rapid.Uint32Range(0, 2).Draw(t, "attempt"),
				Ops: []wire.Op{{Type: wire.OpStep, Step: rapid.Int32Range(0, 5).Draw(t, "step")}},
			})
			steps := tail.now.steps
			for i := range steps[1:] {
				require.Greater(t, steps[i].Step, steps[i+1].Step)
				require.Less(t, steps[i].Sequence, steps[i+1].Sequence)
				require.Equal(t, steps[i].Attempt, steps[i+1].Attempt)
			}
		}
	})
}
