package mysqlstore

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// I7: an event that the database refuses begins no attempt, so what is of the attempt before it is not stale.
func TestI7AnAttemptThatAnEventAtFaultWouldBeginDoesNotBegin(t *testing.T) {
	t.Parallel()
	bad, step := stepOp(1, "1"), stepOp(2, "2")
	bad.NodeID = "bad 1406"
	for name, row := range map[string]struct {
		events  []wire.Event
		refused []uint64
		row     string
	}{
		"it alone is refused": {
			[]wire.Event{attemptOf(2, eventOf(1, "run", bad)), attemptOf(1, eventOf(2, "run", step))},
			[]uint64{1},
			"1 1.2 1 0.0",
		},
		"one of the attempt before, which is stale anyhow, is behind it": {
			[]wire.Event{begin(1, "run", 1), attemptOf(2, eventOf(2, "run", bad)), eventOf(3, "run", step), attemptOf(1, eventOf(4, "run", step))},
			[]uint64{2, 3},
			"1 1.1 1 0.0",
		},
		"another event begins the attempt as well": {
			[]wire.Event{attemptOf(2, eventOf(1, "run", bad)), attemptOf(2, eventOf(2, "run", step)), attemptOf(1, eventOf(3, "run", step))},
			[]uint64{1, 3},
			"2 1.2 2 0.0",
		},
		"what begins it is taken": {
			[]wire.Event{attemptOf(2, eventOf(1, "run", step)), attemptOf(1, eventOf(2, "run", step)), eventOf(3, "other", bad)},
			[]uint64{2, 3},
			"2 1.1 2 0.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			refusing(t, look)
			refused, _ := isolate(t, s, batch(acquire(t, s, 0), row.events...))
			require.Equal(t, row.refused, slices.Sorted(maps.Keys(refused)))
			require.Equal(t, row.row, runRow(t, look, "run"))
		})
	}
}
