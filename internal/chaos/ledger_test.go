package chaos

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// told is a unit of one step and two events, with its outcome, and rest of the row.
type told struct {
	outcome Outcome
	step    int
	life    int
	fenced  bool
}

// book is a ledger of units of one run, and what is in the database when all that may be is.
func book(units ...told) (*Ledger, Found) {
	l := NewLedger(false)
	f := Found{Rows: map[Key]Row{}, Events: map[string]uint64{}}
	for i, u := range units {
		k := Key{Steps, "run", u.step}
		state := json.RawMessage(fmt.Sprintf(`{"unit":%d}`, i+1))
		ids := []string{fmt.Sprintf("%d/a", i+1), fmt.Sprintf("%d/b", i+1)}
		unit := l.Begin("run", Unit{Lane: "run", Life: u.life, Fenced: u.fenced}, map[Key]json.RawMessage{k: state}, ids...)
		l.Settle(unit, u.outcome)
		if u.outcome == Refused {
			continue
		}
		seq := uint64(10 * (i + 1))
		f.Rows[k] = Row{l.Digest(state), seq}
		f.Events[ids[0]], f.Events[ids[1]] = seq, seq
	}
	return l, f
}

func TestAVerdictIsCleanWhenAllThatWasAcknowledgedIsThere(t *testing.T) {
	t.Parallel()
	l, f := book(told{outcome: Acked, step: 1}, told{outcome: Unknown, step: 1}, told{outcome: Refused, step: 2}, told{outcome: Acked, step: 2})
	v := l.Check(f)
	require.True(t, v.Clean(), "%+v", v)
	require.Equal(t, 4, v.Units)
	require.Equal(t, 2, v.Acked)
	require.Equal(t, 1, v.Unknown)
	require.Equal(t, 1, v.UnknownThere)
	require.Equal(t, 1, v.Refused)
	require.Equal(t, 2, v.Rows)
	require.Equal(t, 6, v.Events)
}

func TestAUnitOfUnknownOutcomeMayBeMissingAsAWhole(t *testing.T) {
	t.Parallel()
	l, f := book(told{outcome: Acked, step: 1}, told{outcome: Unknown, step: 2})
	delete(f.Rows, Key{Steps, "run", 2})
	delete(f.Events, "2/a")
	delete(f.Events, "2/b")
	require.True(t, l.Check(f).Clean())
}

func TestEachThingThatMustNotBeIsFound(t *testing.T) {
	t.Parallel()
	row := func(step int) Key { return Key{Steps, "run", step} }
	unit := func(l *Ledger, no int, seq uint64) Row {
		return Row{l.Digest(fmt.Appendf(nil, `{"unit":%d}`, no)), seq}
	}
	ok := []told{{outcome: Acked, step: 1}, {outcome: Unknown, step: 2}, {outcome: Acked, step: 1}, {outcome: Refused, step: 3}}
	for name, c := range map[string]struct {
		units []told
		spoil func(l *Ledger, f *Found)
		of    func(v Verdict) int
	}{
		"a lost row":         {ok, func(_ *Ledger, f *Found) { delete(f.Rows, row(1)) }, func(v Verdict) int { return v.Lost }},
		"a lost event":       {ok, func(_ *Ledger, f *Found) { delete(f.Events, "3/b") }, func(v Verdict) int { return v.Lost }},
		"an altered row":     {ok, func(l *Ledger, f *Found) { f.Rows[row(1)] = unit(l, 77, 30) }, func(v Verdict) int { return v.Altered }},
		"a row of nobody":    {ok, func(l *Ledger, f *Found) { f.Rows[row(9)] = unit(l, 1, 10) }, func(v Verdict) int { return v.Altered }},
		"an event of nobody": {ok, func(_ *Ledger, f *Found) { f.Events["x"] = 5 }, func(v Verdict) int { return v.Altered }},
		"an older value":     {ok, func(l *Ledger, f *Found) { f.Rows[row(1)] = unit(l, 1, 10) }, func(v Verdict) int { return v.Older }},
		"half of the events": {ok, func(_ *Ledger, f *Found) { delete(f.Events, "2/a") }, func(v Verdict) int { return v.Half }},
		"events and no row":  {ok, func(_ *Ledger, f *Found) { delete(f.Rows, row(2)) }, func(v Verdict) int { return v.Half }},
		"two places":         {ok, func(_ *Ledger, f *Found) { f.Events["3/a"] = 31 }, func(v Verdict) int { return v.Half }},
		"what was refused":   {ok, func(l *Ledger, f *Found) { f.Rows[row(3)] = unit(l, 4, 40) }, func(v Verdict) int { return v.Ghosts }},
		"a refused event":    {ok, func(_ *Ledger, f *Found) { f.Events["4/a"] = 40 }, func(v Verdict) int { return v.Half }},
		"refused events whose row a later unit has": {
			[]told{{outcome: Refused, step: 1}, {outcome: Acked, step: 1}},
			func(_ *Ledger, f *Found) { f.Events["1/a"], f.Events["1/b"] = 10, 10 },
			func(v Verdict) int { return v.Ghosts },
		},
		"an order that is not": {ok, swap, func(v Verdict) int { return v.Swapped }},
		"a row written twice":  {ok, func(_ *Ledger, f *Found) { f.Twice = []string{"x"} }, func(v Verdict) int { return v.Twice }},
		"a position gone back": {ok, func(_ *Ledger, f *Found) { f.Back = []string{"x"} }, func(v Verdict) int { return v.Back }},
		"a straggler that was fenced": {
			[]told{{outcome: Unknown, step: 1, fenced: true}, {outcome: Acked, step: 1, life: 1, fenced: true}},
			func(l *Ledger, f *Found) { f.Rows[row(1)] = unit(l, 1, 30) },
			func(v Verdict) int { return v.Older },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, f := book(c.units...)
			c.spoil(l, &f)
			v := l.Check(f)
			require.False(t, v.Clean())
			require.Positive(t, c.of(v), "%+v", v)
			require.NotEmpty(t, v.Examples)
		})
	}
}

// swap has the second unit after the third.
func swap(_ *Ledger, f *Found) {
	k := Key{Steps, "run", 2}
	f.Rows[k] = Row{f.Rows[k].Digest, 35}
	f.Events["2/a"], f.Events["2/b"] = 35, 35
}

func TestAStragglerThatNothingFencesMayComeLate(t *testing.T) {
	t.Parallel()
	l, f := book(told{outcome: Unknown, step: 1}, told{outcome: Acked, step: 1, life: 1})
	f.Rows[Key{Steps, "run", 1}] = Row{l.Digest([]byte(`{"unit":1}`)), 30}
	f.Events["1/a"], f.Events["1/b"] = 30, 30
	v := l.Check(f)
	require.True(t, v.Clean(), "%+v", v)
}

func TestANormalisedStateIsComparedByItsValue(t *testing.T) {
	t.Parallel()
	a, b := []byte(`{"a":1,"b":[2, 3]}`), []byte(`{"b": [2,3], "a": 1}`)
	require.Equal(t, NewLedger(true).Digest(a), NewLedger(true).Digest(b))
	require.NotEqual(t, NewLedger(false).Digest(a), NewLedger(false).Digest(b))
}
