package readpath_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/wire"
)

// I6: wherever MySQL is in the log, whatever is heard of that and whatever was trimmed, the answer is what it will be once all of the log
// is applied.
func TestI6LatestIsWhatTheWholeLogMakesIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := tellRun(t)
		all := s.database()
		for i := range s.log {
			if l := s.log[i]; l.last() > s.position {
				l.loses = l.loses || keyedBy(&l) // nobody knows yet, and nobody was told
				all.apply(&l)
			}
		}
		got, err := s.reader(wire.KindRun, s.database()).LoadLatest(t.Context(), "default", run)
		require.NoError(t, err)
		want := all.row()
		require.Equal(t, want == nil, got == nil, "want %+v, got %+v", want, got)
		if want != nil {
			require.Equal(t, *want, *got)
		}
	})
}

func keyedBy(l *transaction) bool {
	for i := range l.parts {
		if len(l.parts[i].Keys()) > 0 {
			return true
		}
	}
	return false
}

// I6, of a checkpoint: its row may have been written in another partition, which may be further on or further back than its own.
func TestI6CheckpointIsWhatTheWholeLogMakesIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &story{}
		var (
			seq    uint64
			others []uint64 // the sequences of runs' transactions that write it
		)
		for range rapid.IntRange(0, 10).Draw(t, "events") {
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				seq++
				others = append(others, seq)
				continue
			}
			var ops []wire.Op
			for range rapid.IntRange(1, 4).Draw(t, "ops") {
				s.states++
				ops = append(ops, mark(rapid.SampledFrom([]string{run, run, "other"}).Draw(t, "id"), string(rune('a'+s.states))))
			}
			s.write(t, &seq, wire.KindCheckpoint, 0, ops, true)
		}
		s.place(t)
		database := s.database()
		if database.checkpoint == nil && rapid.Bool().Draw(t, "row is older than the log") {
			database.checkpoint = checkpoint(0)
		}
		committed := rapid.IntRange(0, len(others)).Draw(t, "committed elsewhere")
		for _, other := range others[:committed] {
			database.apply(&transaction{parts: []wire.Event{{Message: wire.Message{Sequence: other, Logged: logged}, Kind: wire.KindRun, Ops: []wire.Op{mark(run, "run")}}}})
		}
		before := *database
		all := before
		for i := range s.log {
			if s.log[i].last() > s.position {
				all.apply(&s.log[i])
			}
		}
		got, err := s.reader(wire.KindCheckpoint, &before).LoadCheckpoint(t.Context(), "default", run)
		require.NoError(t, err)
		require.Equal(t, all.checkpoint, got)
	})
}
