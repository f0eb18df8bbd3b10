package verify

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// model is a log and a database in memory, which applies events by the rules that docs/design.md states, one at a time and as plainly as
// they can be written down.
type model struct {
	log     []wire.Event
	rows    map[Key]Row
	runs    map[string]RunRow
	letters map[uint64]bool
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newModel() *model {
	return &model{rows: map[Key]Row{}, runs: map[string]RunRow{}, letters: map[uint64]bool{}}
}

func (m *model) apply(ev wire.Event) {
	m.log = append(m.log, ev)
	at := Place{1, ev.Message.Sequence}
	run := m.runs[ev.RunID]
	switch {
	case ev.Poison != nil:
		m.letters[at.Sequence] = true
		return
	case ev.RunID != "" && ev.Attempt < run.Attempt && (ev.Attempt > 0 || !deletesOnly(&ev)):
		m.letters[at.Sequence] = true
		return
	case ev.Attempt > run.Attempt:
		run.Attempt, run.Begun = ev.Attempt, at
		m.runs[ev.RunID] = run
	}
	for _, k := range ev.Keys() {
		if _, used := m.rows[Key{Table: Keys, ID: k}]; used {
			return
		}
	}
	if lastDelete(&ev) >= 0 {
		maps.DeleteFunc(m.rows, func(k Key, r Row) bool {
			return (k.Table == Steps || k.Table == CheckpointsV2) && k.ID == ev.RunID || k.Table == Keys && r.RunID == ev.RunID
		})
		run.Deleted, run.Latest = at, 0
		m.runs[ev.RunID] = run
	}
	for _, x := range rowsOf(&ev, at) {
		if _, there := m.rows[x.key]; there && x.key.Table == Outbox {
			continue
		}
		m.rows[x.key] = x.row
		if x.key.Table == Steps && ev.Attempt > run.Latest {
			run.Latest = ev.Attempt
			m.runs[ev.RunID] = run
		}
	}
}

// The model is the log, the letters and the database of a comparison.

func (m *model) Range(ctx context.Context, _ int, after, until uint64, deliver func(context.Context, wire.Event) error) error {
	for _, ev := range m.log {
		if seq := ev.Message.Sequence; seq > after && seq <= until {
			if err := deliver(ctx, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) Event(_ context.Context, seq uint64) (wire.Event, bool, error) {
	for _, ev := range m.log {
		if ev.Message.Sequence == seq {
			return ev, true, nil
		}
	}
	return wire.Event{}, false, nil
}

func (m *model) DeadLetter(_ context.Context, _ int, seq uint64) (wire.Poison, bool, error) {
	return wire.Poison{}, m.letters[seq], nil
}

func (m *model) Generation() uint32 { return 1 }

func (m *model) Positions(context.Context) ([]uint64, error) { return []uint64{m.last()}, nil }

func (m *model) last() uint64 {
	if len(m.log) == 0 {
		return 0
	}
	return m.log[len(m.log)-1].Message.Sequence
}

func (m *model) Rows(_ context.Context, keys []Key, _, _ uint64) (map[Key]Row, error) {
	found := map[Key]Row{}
	for _, k := range keys {
		if r, ok := m.rows[k]; ok {
			found[k] = r
		}
	}
	return found, nil
}

func (m *model) Runs(_ context.Context, ids []string) (map[string]RunRow, error) {
	found := map[string]RunRow{}
	for _, id := range ids {
		if r, ok := m.runs[id]; ok {
			found[id] = r
		}
	}
	return found, nil
}

// Claims gives pages of one row, so that there are many.
func (m *model) Claims(_ context.Context, table Table, _ []string, after string) (claims []Claim, next string, err error) {
	skip, _ := strconv.Atoi(after)
	if table == Runs {
		for id, r := range m.runs {
			for _, at := range []Place{r.Begun, r.Deleted} {
				if at != (Place{}) {
					claims = append(claims, Claim{Key: Key{Table: Runs, ID: id}, RunID: id, Place: at})
				}
			}
		}
		return claims, "", nil
	}
	var keys []Key
	for k := range m.rows {
		if k.Table == table {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return slices.Compare([]byte(a.String()), []byte(b.String())) })
	if skip >= len(keys) {
		return nil, "", nil
	}
	k := keys[skip]
	r := m.rows[k]
	run := r.RunID
	if k.Table == Steps || k.Table == CheckpointsV2 {
		run = k.ID
	}
	return []Claim{{Key: k, RunID: run, Place: r.Place, Deleted: m.runs[run].Deleted}}, strconv.Itoa(skip + 1), nil
}

// compare compares the model with itself.
func (m *model) compare(t require.TestingT, with ...func(*Config)) (found []Finding, counts Counts) {
	cfg := Config{Windows: []Window{{0, m.last()}}, Namespace: "default", Pause: -1}
	for _, f := range with {
		f(&cfg)
	}
	counts, err := Compare(context.Background(), cfg, Deps{Log: m, Letters: m, Database: m, Found: func(f Finding) { found = append(found, f) }})
	require.NoError(t, err)
	return found, counts
}
