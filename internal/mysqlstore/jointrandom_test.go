package mysqlstore

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// What batches of several partitions leave, committed together, is what their events leave, each committed alone.
func TestI2I4I5BatchesOfSeveralPartitionsLeaveWhatTheirEventsLeaveOneByOne(t *testing.T) {
	t.Parallel()
	s, terms, look := jointly(t)
	ctx := context.WithoutCancel(t.Context())
	ids := map[string]int{"a": 0, "b": 1, "c": 2}
	rapid.Check(t, func(rt *rapid.T) {
		log := someEvents().Draw(rt, "log")
		for i := range log {
			for j := range log[i].Ops {
				if v2 := log[i].Ops[j].V2; v2 != nil && v2.Key != "" && rapid.Bool().Draw(rt, "shared") {
					v2.Key = v2.Key[1:] // a key of no run's own
				}
			}
			if len(log[i].Keys()) > 0 {
				log[i].ContentHash = wire.HashContent(log[i].RunID, log[i].Ops)
			}
		}
		reset := func() []partition.Term {
			for _, table := range allTables {
				_, err := look.ExecContext(ctx, "DELETE FROM "+table)
				require.NoError(rt, err)
			}
			_, err := look.ExecContext(ctx, "UPDATE persistd_partitions SET position=0")
			require.NoError(rt, err)
			return slices.Clone(terms)
		}
		state := func() string {
			inOrder := readAll(t, look, "SELECT id FROM events_outbox ORDER BY ord")
			return dump(t, look, "id", "ord", "updated_at") + fmt.Sprint(inOrder)
		}

		at := reset()
		one := slices.Clone(log)
		for i := range one {
			term := &at[ids[one[i].RunID]]
			applyAll(ctx, rt, s, *term, one[i:i+1], func() int { return 1 })
			term.Position = one[i].Message.Sequence
		}
		want := state()

		at = reset()
		parts := make([][]wire.Event, len(at))
		for _, ev := range log {
			parts[ids[ev.RunID]] = append(parts[ids[ev.RunID]], ev)
		}
		refused := slices.ContainsFunc(one, func(ev wire.Event) bool { return ev.Poison != nil })
		for len(slices.Concat(parts...)) > 0 { // some of the log's next events
			upTo := slices.Concat(parts...)[0].Message.Sequence
			for _, events := range parts {
				if len(events) > 0 {
					upTo = max(upTo, events[0].Message.Sequence)
				}
			}
			upTo += uint64(rapid.IntRange(0, 20).Draw(rt, "more"))
			var all []*batcher.Batch
			for i, events := range parts {
				n := 0
				for n < len(events) && events[n].Message.Sequence <= upTo {
					n++
				}
				if n > 0 {
					all = append(all, batch(at[i], events[:n]...))
				}
				parts[i] = events[n:]
			}
			was := state()
			if err := s.CommitAll(ctx, all); err != nil {
				require.True(rt, refused, "%v", err)
				require.Equal(rt, was, state(), "nothing is written")
				for _, ev := range inLogOrder(all) {
					no := ids[ev.RunID]
					applyAll(ctx, rt, s, at[no], []wire.Event{*ev}, func() int { return 1 })
					at[no].Position = ev.Message.Sequence
				}
			}
			for _, b := range all {
				for i := range at {
					if at[i].Partition == b.Partition {
						at[i].Position = b.Last()
					}
				}
			}
		}
		require.Equal(rt, want, state())
	})
}
