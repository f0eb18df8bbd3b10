package readpath_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// mark is a named checkpoint's write.
func mark(id, state string) wire.Op {
	return wire.Op{Type: wire.OpCheckpoint, ID: id, Step: int32(len(state)), State: []byte(state)}
}

func checkpoint(seq uint64) *wire.CheckpointRecord {
	return &wire.CheckpointRecord{Step: 3, State: []byte("row"), Sequence: seq, SavedAt: logged}
}

func TestI6CheckpointIsTheRowOrTheLaterWriteOfTheTail(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		row             *wire.CheckpointRecord
		log             []wire.Event
		position, bound uint64
		want            string
		seq             uint64 // that wrote it
	}{
		"nothing is anywhere":                               {nil, nil, 7, 7, "", 0},
		"there is a row and no tail":                        {checkpoint(5), nil, 7, 7, "row", 5},
		"there is a tail and no row":                        {nil, []wire.Event{event(8, mark(run, "x"))}, 7, 7, "x", 8},
		"the tail writes it again":                          {checkpoint(5), []wire.Event{event(8, mark(run, "x")), event(9, mark(run, "yy"))}, 7, 7, "yy", 9},
		"an event writes it twice":                          {checkpoint(5), []wire.Event{event(8, mark(run, "x"), mark(run, "yy"))}, 7, 7, "yy", 8},
		"an event writes others as well":                    {checkpoint(5), []wire.Event{event(8, mark("other", "o"), mark(run, "x"), mark("run/2", "p"))}, 7, 7, "x", 8},
		"an event of its subject writes others alone":       {checkpoint(5), []wire.Event{event(8, mark("other", "o"))}, 7, 7, "row", 5},
		"half of the tail was committed":                    {checkpoint(8), []wire.Event{event(8, mark(run, "x")), event(9, mark(run, "yy"))}, 8, 7, "yy", 9},
		"all of it was":                                     {checkpoint(9), []wire.Event{event(8, mark(run, "x")), event(9, mark(run, "yy"))}, 9, 7, "row", 9},
		"a run's transaction wrote it later in the log":     {checkpoint(12), []wire.Event{event(8, mark(run, "x"))}, 7, 7, "row", 12},
		"a run's transaction wrote it before the tail did":  {checkpoint(8), []wire.Event{event(9, mark(run, "x"))}, 7, 7, "x", 9},
		"the row was there before the log":                  {checkpoint(0), []wire.Event{event(8, mark(run, "x"))}, 7, 7, "x", 8},
		"the row was there before the log, and stays":       {checkpoint(0), []wire.Event{event(7, mark(run, "x"))}, 7, 3, "row", 0},
		"the last write is poison":                          {checkpoint(5), []wire.Event{event(8, mark(run, "x")), poisoned(9)}, 7, 7, "x", 8},
		"a step counts for nothing":                         {checkpoint(5), []wire.Event{event(8, op(1, "x"))}, 7, 7, "row", 5},
		"half of a transaction in parts is there":           {checkpoint(5), []wire.Event{event(8, mark(run, "x")), part(1, 2, event(9, mark(run, "half")))}, 7, 7, "x", 8},
		"a transaction in parts writes it in its first one": {checkpoint(5), []wire.Event{part(1, 2, event(8, mark(run, "x"))), part(2, 2, event(9, mark("other", "o")))}, 7, 7, "x", 9},
		"the database was restored":                         {checkpoint(2), []wire.Event{event(4, mark(run, "x"))}, 3, 7, "x", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &data{checkpoint: row.row, log: row.log, positions: []uint64{row.position}}
			got, err := d.reader(row.bound).LoadCheckpoint(t.Context(), "default", run)
			require.NoError(t, err)
			require.Equal(t, []string{
				fmt.Sprintf("tail of default.checkpoint.%s in %d after %d", run, home, row.bound), fmt.Sprintf("checkpoint %s in %d", run, home),
			}, d.calls[:2])
			if row.want == "" {
				require.Nil(t, got)
				return
			}
			require.Equal(t, &wire.CheckpointRecord{Step: int32(len(row.want)), State: []byte(row.want), Sequence: row.seq, SavedAt: logged}, got)
		})
	}
}

func TestCheckpointThatCannotBeReadSaysWhere(t *testing.T) {
	t.Parallel()
	d := &data{rowErr: errors.New("away")}
	_, err := d.reader(0).LoadCheckpoint(t.Context(), "default", run)
	require.EqualError(t, err, "read row: away")
	_, err = d.reader(0).LoadCheckpoint(t.Context(), "default", "x ")
	var poison *wire.Poison
	require.ErrorAs(t, err, &poison)
	d = &data{positions: []uint64{9, 8, 7, 6, 5}}
	_, err = d.reader(10).LoadCheckpoint(t.Context(), "default", run)
	require.EqualError(t, err, fmt.Sprintf("read checkpoint: the position of partition %d went back 5 times", home))
}
