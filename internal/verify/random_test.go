package verify

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/wire"
)

// someEvent draws an event of a few runs; keys are a run's own, for who lost one to another run that is deleted can not be told.
func someEvent(t *rapid.T, seq uint64) wire.Event {
	run := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "run")
	ev := wire.Event{
		Message: wire.Message{Subject: "persistd.log.0.default.run." + run, Sequence: seq, Logged: epoch.Add(time.Duration(seq) * time.Second)},
		RunID:   run, Kind: wire.KindRun, Attempt: rapid.SampledFrom([]uint32{0, 0, 0, 1, 2}).Draw(t, "attempt"),
	}
	if rapid.IntRange(0, 14).Draw(t, "poison") == 0 {
		ev.Poison = &wire.Poison{Code: wire.CodeNotJSON}
		return ev
	}
	for range rapid.IntRange(1, 3).Draw(t, "ops") {
		n := rapid.Int32Range(0, 2).Draw(t, "n")
		state := fmt.Appendf(nil, `{"v":%d}`, rapid.IntRange(0, 9).Draw(t, "v"))
		switch rapid.IntRange(0, 9).Draw(t, "op") {
		case 0:
			ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpDeleteRun})
		case 1:
			ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpCheckpoint, ID: fmt.Sprint("cp", n), Step: n, State: state})
		case 2:
			ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpOutbox, ID: fmt.Sprint(run, "event", n), State: state})
		case 3, 4:
			v2 := &wire.V2{Frontier: []byte("null"), RecordedIOs: []byte("null")}
			if rapid.Bool().Draw(t, "keyed") {
				v2.Key = fmt.Sprint(run, "key", n)
			}
			ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpCheckpointV2, Step: n, State: state, V2: v2})
		default:
			ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpStep, Step: n, NodeID: "n", State: state})
		}
	}
	ev.ContentHash = wire.HashContent(run, ev.Ops)
	return ev
}

func someLog(t *rapid.T) *model {
	m := newModel()
	for i := range rapid.IntRange(1, 25).Draw(t, "events") {
		m.apply(someEvent(t, uint64(2*i+1)))
	}
	return m
}

// Whatever is applied by the rules is found to be as it is to be: no false alarms.
func TestWhatWasAppliedIsFoundClean(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := someLog(t)
		found, counts := m.compare(t)
		require.Empty(t, found)
		require.EqualValues(t, len(m.log), counts.Events)
		found, _ = m.compare(t, func(c *Config) { c.Sample = 0.5 })
		require.Empty(t, found)
		found, _ = m.compare(t, func(c *Config) { c.Runs = []string{"a"} })
		require.Empty(t, found)
		found, _ = m.compare(t, func(c *Config) { c.Windows[0].After = m.last() / 2 })
		require.Empty(t, found, "of a part of the log")
	})
}

// Whatever is changed of a row that the log explains is found, under that row's name.
func TestWhateverIsChangedIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := someLog(t)
		if len(m.rows) == 0 {
			return
		}
		keys := slices.SortedFunc(maps.Keys(m.rows), func(a, b Key) int { return slices.Compare([]byte(a.String()), []byte(b.String())) })
		k := rapid.SampledFrom(keys).Draw(t, "row")
		r := m.rows[k]
		if ev, ok, _ := m.Event(t.Context(), r.Place.Sequence); ok && len(ev.Keys()) > 0 && r.Place.Before(m.runs[ev.RunID].Deleted) {
			return // its keys went with the run, so it may have been a duplicate
		}
		switch rapid.SampledFrom([]string{"gone", "content", "older", "another event's", "from beyond", "put in"}).Draw(t, "change") {
		case "gone":
			if k.Table == Outbox && m.runs[r.RunID].Deleted.Sequence > r.Place.Sequence {
				return // it may have been emitted, and was deleted with its run then
			}
			delete(m.rows, k)
		case "content":
			r.RunID, r.State, r.NodeID, r.Label, r.ContentHash = r.RunID+"x", []byte(`"changed"`), "x", "x", []byte("x")
			m.rows[k] = r
		case "older":
			if k.Table == Outbox || k.Table == Keys {
				return // then another event has the id, and used the key
			}
			r.Place.Sequence--
			m.rows[k] = r
		case "another event's":
			r.Place.Sequence++ // nobody has an even one
			m.rows[k] = r
			if r.Place.Sequence < m.last() {
				return // the log has no such event: it may have been trimmed
			}
		case "from beyond":
			r.Place.Sequence = m.last() + 5
			m.rows[k] = r
		case "put in":
			k = Key{Steps, "nobody", 1}
			m.rows[k] = Row{Place: Place{1, m.log[0].Message.Sequence}, State: []byte("1")}
		}
		found, _ := m.compare(t)
		require.True(t, slices.ContainsFunc(found, func(f Finding) bool { return f.Key == k }), "%v is not among %v", k, found)
	})
}

// An event that left nothing behind, neither rows nor a letter, is found.
func TestALetterThatIsMissingIsFound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := someLog(t)
		if len(m.letters) == 0 {
			return
		}
		seq := rapid.SampledFrom(slices.Sorted(maps.Keys(m.letters))).Draw(t, "letter")
		delete(m.letters, seq)
		found, _ := m.compare(t)
		for _, f := range found {
			require.Equal(t, seq, f.Place.Sequence, "%v", found)
		}
		ev, _, _ := m.Event(t.Context(), seq)
		if ev.Poison != nil || ev.Attempt > 0 {
			require.NotEmpty(t, found)
		}
	})
}

// Keys and events that were removed for their age are no findings.
func TestWhatHadItsTimeIsNotMissed(t *testing.T) {
	t.Parallel()
	m := newModel()
	ev := wire.Event{Message: wire.Message{Sequence: 1, Logged: epoch}, RunID: "a", Kind: wire.KindRun, Ops: []wire.Op{
		{Type: wire.OpCheckpointV2, Step: 1, State: []byte("1"), V2: &wire.V2{Key: "k"}}, {Type: wire.OpOutbox, ID: "e", State: []byte("1")},
	}}
	m.apply(ev)
	again := wire.Event{Message: wire.Message{Sequence: 2, Logged: epoch}, RunID: "a", Kind: wire.KindRun, Ops: []wire.Op{
		{Type: wire.OpCheckpointV2, Step: 1, State: []byte("2"), V2: &wire.V2{}},
	}}
	m.apply(again)
	delete(m.rows, Key{Table: Keys, ID: "k"})
	delete(m.rows, Key{Table: Outbox, ID: "e"})
	found, _ := m.compare(t)
	require.Len(t, found, 2, "where nothing is removed")
	found, counts := m.compare(t, func(c *Config) { c.KeysKept, c.EventsKept = time.Hour, time.Hour })
	require.Empty(t, found)
	require.EqualValues(t, 1, counts.Untold)
}
