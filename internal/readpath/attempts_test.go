package readpath_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

func TestI6LatestAppliesTheTailAsItsCommitWill(t *testing.T) {
	t.Parallel()
	// All tails are after position 7; what the row was at is the second column.
	row := func(step int32, attempt uint32) *wire.StepRecord {
		r := saved(step, 5)
		r.Attempt = attempt
		return r
	}
	for name, test := range map[string]struct {
		row      *wire.StepRecord
		begun    uint32
		log      []wire.Event
		position uint64
		want     string // attempt, step and state
	}{
		"a newer attempt begins again at a lower step":           {row(9, 1), 1, []wire.Event{of(2, event(8, op(0, "x")))}, 7, "2 0 x"},
		"it has begun and saved nothing":                         {row(9, 1), 2, nil, 7, "1 9 row"},
		"it saves an outbox event and no step":                   {row(9, 1), 1, []wire.Event{of(2, event(8, wire.Op{Type: wire.OpOutbox}))}, 7, "1 9 row"},
		"it has begun, and the older one writes on":              {row(9, 1), 2, []wire.Event{of(1, event(8, op(10, "stale")))}, 7, "1 9 row"},
		"a run with attempts is written without":                 {row(9, 1), 1, []wire.Event{event(8, op(10, "stale"))}, 7, "1 9 row"},
		"it begins in the tail, and the older one writes on":     {row(9, 1), 1, []wire.Event{of(2, event(8, op(0, "x"))), of(1, event(9, op(10, "stale")))}, 7, "2 0 x"},
		"it begins without a step, and the older one writes on":  {row(9, 1), 1, []wire.Event{of(2, event(8, wire.Op{Type: wire.OpOutbox})), of(1, event(9, op(10, "stale")))}, 7, "1 9 row"},
		"the older one wrote before it began":                    {row(9, 1), 1, []wire.Event{of(1, event(8, op(10, "x"))), of(2, event(9, wire.Op{Type: wire.OpOutbox}))}, 7, "1 10 x"},
		"it writes a higher and then a lower step":               {row(9, 1), 1, []wire.Event{of(2, event(8, op(3, "x"))), of(2, event(9, op(1, "y")))}, 7, "2 3 x"},
		"the first of three attempts in the tail was committed":  {row(9, 1), 1, []wire.Event{of(1, event(8, op(10, "x"))), of(2, event(9, op(3, "y"))), of(3, event(10, op(1, "z")))}, 8, "3 1 z"},
		"its beginning was committed, its second step was not":   {row(3, 2), 2, []wire.Event{of(2, event(8, op(3, "x"))), of(2, event(9, op(1, "y")))}, 8, "2 3 row"},
		"the newest attempt of the tail is older than the row's": {row(1, 3), 3, []wire.Event{of(2, event(8, op(8, "stale")))}, 7, "3 1 row"},
		"the first attempt follows steps of none":                {row(9, 0), 0, []wire.Event{of(1, event(8, op(1, "x")))}, 7, "1 1 x"},
		"a beginning that is poison begins nothing":              {row(9, 1), 1, []wire.Event{of(2, poisoned(8)), of(1, event(9, op(10, "x")))}, 7, "1 10 x"},

		"the run is deleted":                                     {row(9, 0), 0, []wire.Event{event(8, deletion())}, 7, ""},
		"it is deleted, and saved again":                         {row(9, 0), 0, []wire.Event{event(8, deletion()), event(9, op(1, "x"))}, 7, "0 1 x"},
		"it is saved, and then deleted":                          {row(9, 0), 0, []wire.Event{event(8, op(10, "x")), event(9, deletion())}, 7, ""},
		"it is deleted between two writes of one event":          {row(9, 0), 0, []wire.Event{event(8, op(10, "x"), deletion(), op(2, "y"))}, 7, "0 2 y"},
		"it was deleted, and saved again after that commit":      {nil, 0, []wire.Event{event(8, deletion()), event(9, op(1, "x"))}, 8, "0 1 x"},
		"it was deleted and saved again, all of it committed":    {row(1, 0), 0, []wire.Event{event(8, deletion()), event(9, op(1, "x"))}, 9, "0 1 row"},
		"a deletion of no attempt deletes whatever has begun":    {row(9, 3), 3, []wire.Event{event(8, deletion()), of(3, event(9, op(1, "x")))}, 7, "3 1 x"},
		"with a step in its event it is one of no attempt":       {row(9, 3), 3, []wire.Event{event(8, deletion(), op(1, "stale"))}, 7, "3 9 row"},
		"an older attempt's deletion deletes nothing":            {row(9, 3), 3, []wire.Event{of(2, event(8, deletion()))}, 7, "3 9 row"},
		"the newest attempt's does":                              {row(9, 3), 3, []wire.Event{of(3, event(8, deletion()))}, 7, ""},
		"an operator's, and then one that does not count":        {row(9, 3), 3, []wire.Event{event(8, deletion()), of(2, event(9, deletion()))}, 7, ""},
		"after it the attempt that had begun is still the run's": {row(9, 3), 3, []wire.Event{event(8, deletion()), of(2, event(9, op(1, "stale")))}, 7, ""},
		"the highest step was deleted, a lower one came after":   {nil, 1, []wire.Event{of(1, event(8, op(9, "x"))), of(1, event(9, deletion())), of(1, event(10, op(2, "y")))}, 7, "1 2 y"},
		"a deletion that is poison deletes nothing":              {row(9, 0), 0, []wire.Event{func() wire.Event { e := poisoned(8); e.Ops = []wire.Op{deletion()}; return e }()}, 7, "0 9 row"},

		"an event has an idempotency key":                  {row(3, 0), 0, []wire.Event{event(8, op(5, "perhaps"), keyed()), event(9, op(4, "x"))}, 7, "0 4 x"},
		"it begins its attempt, whether it applies or not": {row(3, 1), 1, []wire.Event{of(2, event(8, op(5, "perhaps"), keyed())), of(1, event(9, op(4, "stale")))}, 7, "1 3 row"},
		"a V2 checkpoint has no key":                       {row(3, 0), 0, []wire.Event{event(8, op(5, "x"), wire.Op{Type: wire.OpCheckpointV2, V2: &wire.V2{}})}, 7, "0 5 x"},

		"a transaction is in parts":                            {row(3, 0), 0, []wire.Event{part(1, 2, event(8, op(5, "x"))), part(2, 2, event(9, op(4, "y")))}, 7, "0 5 x"},
		"its last part has the higher step":                    {row(3, 0), 0, []wire.Event{part(1, 2, event(8, op(4, "x"))), part(2, 2, event(9, op(5, "y")))}, 7, "0 5 y"},
		"it was committed":                                     {row(5, 0), 0, []wire.Event{part(1, 2, event(8, op(4, "x"))), part(2, 2, event(9, op(5, "y")))}, 9, "0 5 row"},
		"it was committed, and its head trimmed":               {row(5, 0), 0, []wire.Event{part(2, 3, event(8, op(4, "x"))), part(3, 3, event(9, op(5, "y")))}, 9, "0 5 row"},
		"its end is not there yet":                             {row(3, 0), 0, []wire.Event{event(8, op(4, "x")), part(1, 2, event(9, op(5, "half")))}, 7, "0 4 x"},
		"its end never came, and another event did":            {row(3, 0), 0, []wire.Event{part(1, 2, event(8, op(5, "half"))), event(9, op(4, "x"))}, 7, "0 4 x"},
		"its end never came, and another transaction did":      {row(3, 0), 0, []wire.Event{part(1, 2, event(8, op(5, "half"))), part(1, 2, event(9, op(3, "x"))), part(2, 2, event(10, op(4, "y")))}, 7, "0 4 y"},
		"a part is missing":                                    {row(3, 0), 0, []wire.Event{part(1, 3, event(8, op(5, "x"))), part(3, 3, event(9, op(6, "y")))}, 7, "0 3 row"},
		"a part of it is poison":                               {row(3, 0), 0, []wire.Event{part(1, 3, event(8, op(5, "x"))), part(2, 3, poisoned(9)), part(3, 3, event(10, op(6, "y")))}, 7, "0 3 row"},
		"its last part has an idempotency key":                 {row(3, 0), 0, []wire.Event{event(8, op(4, "x")), part(1, 2, event(9, op(5, "perhaps"))), part(2, 2, event(10, keyed()))}, 7, "0 4 x"},
		"its first part deletes the run":                       {row(9, 0), 0, []wire.Event{part(1, 2, event(8, deletion())), part(2, 2, event(9, op(4, "y")))}, 7, "0 4 y"},
		"that of a run with attempts is of no attempt":         {row(9, 1), 1, []wire.Event{part(1, 2, event(8, deletion())), part(2, 2, event(9, op(4, "stale")))}, 7, "1 9 row"},
		"a deletion and its undoing leave the steps before it": {nil, 0, []wire.Event{event(8, op(4, "x")), part(1, 2, event(9, deletion(), op(9, "half")))}, 7, "0 4 x"},
		"a part that begins an attempt and is poison":          {row(9, 1), 1, []wire.Event{of(2, part(1, 2, event(8, op(1, "x")))), of(2, part(2, 2, poisoned(9))), of(1, event(10, op(10, "y")))}, 7, "1 10 y"},
		"a keyed one begins its attempt":                       {row(9, 1), 1, []wire.Event{of(2, part(1, 2, event(8, op(1, "x")))), of(2, part(2, 2, event(9, keyed()))), of(1, event(10, op(10, "stale")))}, 7, "1 9 row"},
		"all of it is one part":                                {row(3, 0), 0, []wire.Event{part(1, 1, event(8, op(5, "x"))), event(9, op(4, "y"))}, 7, "0 5 x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &data{row: test.row, begun: test.begun, log: test.log, positions: []uint64{test.position}}
			got, err := d.reader(7).LoadLatest(t.Context(), "default", run)
			require.NoError(t, err)
			if test.want == "" {
				require.Nil(t, got)
				return
			}
			require.NotNil(t, got)
			require.Equal(t, test.want, fmt.Sprintf("%d %d %s", got.Attempt, got.Step, got.State))
		})
	}
}
