package readpath_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// still is a database and a log in which nothing changes.
type still struct {
	readpath.Rows

	row      *wire.StepRecord
	position uint64
	last     *wire.Event
}

func (s *still) Latest(context.Context, int, string) (*wire.StepRecord, uint32, uint64, error) {
	return s.row, 0, s.position, nil
}

func (s *still) Tail(_ context.Context, _ int, _, _, _ string, after uint64, visit func(*wire.Event)) (uint64, error) {
	if s.last.Message.Sequence > after {
		visit(s.last)
	}
	return s.last.Message.Sequence, nil
}

func (*still) Last(context.Context, int, string, string, string) (uint64, error) { return 0, nil }

func (*still) LastAttempt(context.Context, int, string, string) (uint32, uint64, error) {
	return 0, 0, nil
}

// What a read allocates beside what the database and the log do. That the row is read beside the tail is a goroutine with what it needs; it is
// not, while the tail has what the row lacks.
func TestALatestStepIsFoundInNineAllocationsOrSeven(t *testing.T) { //nolint:paralleltest // it counts allocations.
	last := event(8, op(4, "x"))
	for name, row := range map[string]struct {
		position uint64
		step     int32
		takes    float64
	}{
		"in the row":  {8, 3, 9},
		"in the tail": {7, 4, 7},
	} {
		s := &still{row: saved(3, 5), position: row.position, last: &last}
		r := &readpath.Reader{Rows: s, Tail: s, Positions: position.NewTracker(8), Partitions: 8, Namespace: "default"}
		r.Positions.Advance(position.Commit{Partition: home, To: row.position})
		require.Equal(t, row.takes, testing.AllocsPerRun(500, func() {
			got, err := r.LoadLatest(t.Context(), "default", run)
			if err != nil || got.Step != row.step {
				panic(name)
			}
		}), name)
	}
}
