package readpath_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

func TestI6LatestIsTheRowAndTheTailAfterThePosition(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		row             *wire.StepRecord
		log             []wire.Event
		position, bound uint64
		want            string // step and state
		seq             uint64 // that wrote it
	}{
		"nothing is anywhere":                            {nil, nil, 7, 7, "", 0},
		"there is a row and no tail":                     {saved(3, 5), nil, 7, 7, "3 row", 5},
		"the row is not of persistd's writing":           {saved(3, 0), nil, 7, 7, "3 row", 0},
		"there is a tail and no row":                     {nil, []wire.Event{event(8, op(1, "x"))}, 7, 7, "1 x", 8},
		"the first step is below zero":                   {nil, []wire.Event{event(8, op(-4, "x"))}, 7, 7, "-4 x", 8},
		"the tail has a higher step":                     {saved(3, 5), []wire.Event{event(8, op(4, "x"))}, 7, 7, "4 x", 8},
		"the tail has a lower step":                      {saved(3, 5), []wire.Event{event(8, op(2, "x"))}, 7, 7, "3 row", 5},
		"the tail writes the row's step again":           {saved(3, 5), []wire.Event{event(8, op(3, "x"))}, 7, 7, "3 x", 8},
		"the tail's last is not its highest":             {saved(3, 5), []wire.Event{event(8, op(5, "x")), event(9, op(4, "y"))}, 7, 7, "5 x", 8},
		"the tail writes its highest twice":              {saved(3, 5), []wire.Event{event(8, op(5, "x")), event(9, op(5, "y"))}, 7, 7, "5 y", 9},
		"an event has several ops":                       {saved(3, 5), []wire.Event{event(8, op(4, "x"), op(6, "y"), op(5, "z"))}, 7, 7, "6 y", 8},
		"an event writes a step twice":                   {saved(3, 5), []wire.Event{event(8, op(4, "x"), op(4, "y"))}, 7, 7, "4 y", 8},
		"the highest event is poison":                    {saved(3, 5), []wire.Event{event(8, op(4, "x")), poisoned(9)}, 7, 7, "4 x", 8},
		"all of the tail is poison":                      {nil, []wire.Event{poisoned(8)}, 7, 7, "", 0},
		"the tail was committed before the row was read": {saved(3, 9), []wire.Event{event(8, op(3, "x")), event(9, op(3, "y"))}, 9, 7, "3 row", 9},
		"half of the tail was":                           {saved(3, 8), []wire.Event{event(8, op(3, "x")), event(9, op(3, "y"))}, 8, 7, "3 y", 9},
		"the position is just below the tail":            {saved(3, 7), []wire.Event{event(7, op(3, "x")), event(8, op(2, "y"))}, 7, 3, "3 row", 7},
		"the tail's highest was committed, a lower one was not, and the row is neither": {
			saved(2, 4), []wire.Event{event(8, op(9, "refused at commit")), event(9, op(5, "x")), event(10, op(3, "y"))}, 8, 7, "5 x", 9,
		},
		"the tail falls, and half of it was committed": {
			saved(9, 8), []wire.Event{event(8, op(9, "x")), event(9, op(5, "y"))}, 8, 7, "9 row", 8,
		},
		"nothing was ever committed": {nil, []wire.Event{event(1, op(1, "x"))}, 0, 0, "1 x", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &data{row: row.row, log: row.log, positions: []uint64{row.position}}
			got, err := d.reader(row.bound).LoadLatest(t.Context(), "default", run)
			require.NoError(t, err)
			// Tail before row: what is committed and trimmed between the two is then in the tail, and not in neither.
			require.Equal(t, []string{
				fmt.Sprintf("tail of default.run.%s in %d after %d", run, home, row.bound), fmt.Sprintf("row of %s in %d", run, home),
			}, d.calls)
			if row.want == "" {
				require.Nil(t, got)
				return
			}
			require.Equal(t, row.want, fmt.Sprintf("%d %s", got.Step, got.State))
			require.Equal(t, wire.StepRecord{
				Step: got.Step, NodeID: "node of " + string(got.State), State: got.State, Sequence: row.seq, SavedAt: logged,
			}, *got)
		})
	}
}

func TestI6TailIsReadAgainFromThePositionOfARestoredDatabase(t *testing.T) {
	t.Parallel()
	d := &data{row: saved(1, 4), positions: []uint64{4}, log: []wire.Event{event(4, op(1, "x")), event(7, op(2, "y")), event(10, op(1, "z"))}}
	r := d.reader(10)
	got, err := r.LoadLatest(t.Context(), "default", run)
	require.NoError(t, err)
	require.Equal(t, "y", string(got.State), "it was in the database, is not any more, and will be again")
	where := fmt.Sprintf("tail of default.run.%s in %d after ", run, home)
	row := fmt.Sprintf("row of %s in %d", run, home)
	require.Equal(t, []string{where + "10", row, where + "4", row}, d.calls)
	require.EqualValues(t, 4, r.Positions.Bound(home))
}

func TestPositionThatGoesBackAgainAndAgainIsAnError(t *testing.T) {
	t.Parallel()
	d := &data{positions: []uint64{9, 8, 7, 6, 5, 4}}
	_, err := d.reader(10).LoadLatest(t.Context(), "default", run)
	require.EqualError(t, err, fmt.Sprintf("read run: the position of partition %d went back 5 times", home))
	require.Len(t, d.calls, 10)

	d = &data{row: saved(1, 4), positions: []uint64{9, 8, 7, 6, 6}}
	got, err := d.reader(10).LoadLatest(t.Context(), "default", run)
	require.NoError(t, err, "four times are not too many")
	require.Equal(t, saved(1, 4), got)
}

func TestFirstReadTeachesTheBound(t *testing.T) {
	t.Parallel()
	d := &data{row: saved(1, 4), positions: []uint64{6}, log: []wire.Event{event(4, op(1, "x"))}}
	r := d.reader(0)
	for range 2 {
		got, err := r.LoadLatest(t.Context(), "default", run)
		require.NoError(t, err)
		require.Equal(t, saved(1, 4), got)
	}
	require.Equal(t, fmt.Sprintf("tail of default.run.%s in %d after 6", run, home), d.calls[2], "not all of the log, read after read")
}

func TestReadThatFailsSaysWhere(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	for name, row := range map[string]struct {
		data           data
		namespace, run string
		want           string
		is             error
	}{
		"the log is away":          {data{tailErr: away}, "default", run, "read tail: away", away},
		"the database is away":     {data{rowErr: away}, "default", run, "read row: away", away},
		"the namespace is unknown": {data{}, "other", run, `unknown namespace "other"`, readpath.ErrNamespace},
		"the id cannot exist":      {data{}, "default", "", "id is empty: give it at least one character", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := row.data
			r := d.reader(0)
			_, err := r.LoadLatest(t.Context(), row.namespace, row.run)
			require.EqualError(t, err, row.want)
			if row.is != nil {
				require.ErrorIs(t, err, row.is)
			} else {
				var poison *wire.Poison
				require.ErrorAs(t, err, &poison)
			}
			if !errors.Is(row.is, away) {
				require.Empty(t, d.calls, "nobody was asked")
				_, again := r.Committed(t.Context(), row.namespace, readpath.Write{ID: row.run, Sequence: 1})
				require.Equal(t, err, again)
			}
		})
	}
}
