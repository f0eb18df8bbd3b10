package readpath_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/wire"
)

// A row that is read beside the tail may be from before what was committed, and trimmed, until the log was asked.
func TestI6RowReadBesideTheTailCountsOnlyIfTheLogShowsThatItHasAll(t *testing.T) {
	t.Parallel()
	tail, again := fmt.Sprintf("tail of default.run.%s in %d after 7", run, home), fmt.Sprintf("row of %s in %d", run, home)
	for name, row := range map[string]struct {
		log    []wire.Event
		before *data // what is read beside the tail
		now    *wire.StepRecord
		at     uint64
		want   string
		calls  []string
	}{
		"the log's last event is in the row": {
			[]wire.Event{event(6, op(3, "x"))}, &data{row: saved(3, 6), positions: []uint64{7}}, nil, 7, "3 row", []string{tail},
		},
		"the log's last event is the position's": {
			[]wire.Event{event(7, op(3, "x"))}, &data{row: saved(3, 7), positions: []uint64{7}}, nil, 7, "3 row", []string{tail},
		},
		"the tail was overtaken before the row was read": {
			[]wire.Event{event(8, op(3, "x"))}, &data{row: saved(3, 8), positions: []uint64{9}}, nil, 9, "3 row", []string{tail},
		},
		"the log has nothing of the key, as all of it was trimmed": {
			nil, &data{row: saved(2, 6), positions: []uint64{7}}, saved(3, 9), 9, "3 row", []string{tail, again},
		},
		"the log's last event is not in the row": {
			[]wire.Event{event(8, op(4, "x"))}, &data{row: saved(3, 6), positions: []uint64{7}}, saved(3, 6), 7, "4 x", []string{tail, again},
		},
		"what was before the log's last event was committed and trimmed": {
			[]wire.Event{event(9, op(4, "x"))}, &data{row: saved(3, 6), positions: []uint64{7}}, saved(5, 8), 8, "5 row", []string{tail, again},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &data{row: row.now, log: row.log, positions: []uint64{row.at}, before: row.before}
			got, err := d.reader(7).LoadLatest(t.Context(), "default", run)
			require.NoError(t, err)
			require.Equal(t, row.want, fmt.Sprintf("%d %s", got.Step, got.State))
			require.Equal(t, row.calls, d.calls)
		})
	}
}

// I6, wherever MySQL is in the log when it is asked beside the tail, and wherever it is afterwards.
func TestI6LatestIsWhatTheWholeLogMakesItThoughTheRowIsReadEarly(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := tellRun(t)
		earlier := *s
		earlier.position = rapid.Uint64Range(0, s.position).Draw(t, "earlier position")
		for i := range s.log { // a position is of whole events
			if l := &s.log[i]; l.parts[0].Message.Sequence <= earlier.position && earlier.position < l.last() {
				earlier.position = l.parts[0].Message.Sequence - 1
			}
		}
		s.bound = min(s.bound, earlier.position)
		then, now, all := earlier.database(), s.database(), s.database()
		for i := range s.log {
			if l := s.log[i]; l.last() > s.position {
				l.loses = l.loses || keyedBy(&l)
				all.apply(&l)
			}
		}
		d := &data{
			row: now.row(), begun: now.begun, positions: []uint64{s.position}, log: s.events(wire.KindRun),
			before: &data{row: then.row(), begun: then.begun, positions: []uint64{earlier.position}},
		}
		r := d.reader(0)
		r.Positions.Advance(position.Commit{Partition: home, To: s.bound})
		got, err := r.LoadLatest(t.Context(), "default", run)
		require.NoError(t, err)
		want := all.row()
		require.Equal(t, want == nil, got == nil, "want %+v, got %+v", want, got)
		if want != nil {
			require.Equal(t, *want, *got)
		}
	})
}

func TestI6CheckpointReadBesideTheTailCountsOnlyIfTheLogShowsThatItHasAll(t *testing.T) {
	t.Parallel()
	d := &data{checkpoint: checkpoint(9), positions: []uint64{9}, before: &data{checkpoint: checkpoint(6), positions: []uint64{7}}}
	got, err := d.reader(7).LoadCheckpoint(t.Context(), "default", run)
	require.NoError(t, err)
	require.EqualValues(t, 9, got.Sequence, "it was committed and trimmed in between")

	d = &data{log: []wire.Event{event(6, mark(run, "x"))}, positions: []uint64{9}, before: &data{checkpoint: checkpoint(6), positions: []uint64{7}}}
	got, err = d.reader(7).LoadCheckpoint(t.Context(), "default", run)
	require.NoError(t, err)
	require.EqualValues(t, 6, got.Sequence, "one look at the database is enough")
}

func TestRowIsReadBesideTheTailWhereThatWasOfUse(t *testing.T) {
	t.Parallel()
	d := &data{row: saved(3, 6), positions: []uint64{7}, before: &data{row: saved(3, 6), positions: []uint64{7}}, log: []wire.Event{event(8, op(4, "x"))}}
	r := d.reader(7)
	reads := func(n int, what string) {
		t.Helper()
		d.calls = nil
		_, err := r.LoadLatest(t.Context(), "default", run)
		require.NoError(t, err)
		require.Len(t, d.calls, n, what)
	}
	reads(2, "beside the tail, in vain, and again")
	reads(2, "only after the tail")
	d.row, d.positions = saved(4, 8), []uint64{8}
	reads(2, "only after the tail, but it had all")
	d.before = &data{row: saved(4, 8), positions: []uint64{8}}
	reads(1, "beside the tail")
}

func TestRowThatCannotBeReadBesideTheTailIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	d := &data{positions: []uint64{7}, before: &data{positions: []uint64{7}, rowErr: away}}
	_, err := d.reader(7).LoadLatest(t.Context(), "default", run)
	require.EqualError(t, err, "read row: away")
	require.Len(t, d.calls, 1, "the tail")

	d = &data{tailErr: errors.New("gone"), positions: []uint64{7}, before: &data{positions: []uint64{7}, rowErr: away}}
	_, err = d.reader(7).LoadLatest(t.Context(), "default", run)
	require.EqualError(t, err, "read tail: gone")
}
