package ingest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/wire"
)

// message is the decoded message seq of a partition; no 0 makes it no part.
func message(seq uint64, transaction string, no, of int) arrival {
	ev := wire.Event{
		Message: wire.Message{Sequence: seq}, Kind: wire.KindRun, RunID: "run", Size: 10,
		Ops: []wire.Op{{Type: wire.OpStep, Step: int32(seq), State: []byte("1")}},
	}
	if no > 0 {
		ev.Part = wire.Part{Transaction: transaction, No: no, Of: of}
	}
	return arrival{ev: ev, behind: 1000 - seq}
}

// told is what an event is, in short: its messages, and why it is poison.
func told(a arrival) string {
	code := ""
	if a.ev.Poison != nil {
		code = " " + a.ev.Poison.Code
	}
	if a.ev.Parts == nil {
		return fmt.Sprintf("%d%s", a.ev.Message.Sequence, code)
	}
	first, last := a.ev.Parts[0].Sequence, a.ev.Parts[len(a.ev.Parts)-1].Sequence
	return fmt.Sprintf("%d-%d%s", first, last, code)
}

func assemble(messages ...arrival) (known []string, a assembly) {
	for _, m := range messages {
		for _, k := range a.add(m) {
			known = append(known, told(k))
		}
	}
	return known, a
}

func TestPartsAreJoinedOrOrphaned(t *testing.T) {
	t.Parallel()
	m := message
	poison := m(2, "x", 2, 3)
	poison.ev.Ops, poison.ev.Poison = nil, &wire.Poison{Code: wire.CodeNotJSON, Reason: "no JSON"}
	other := m(2, "x", 2, 2)
	other.ev.RunID = "another"
	tests := []struct {
		name     string
		messages []arrival
		known    []string
		held     int
	}{
		{"messages that are no parts", []arrival{m(1, "", 0, 0), m(2, "", 0, 0)}, []string{"1", "2"}, 0},
		{"all parts side by side", []arrival{m(1, "x", 1, 3), m(2, "x", 2, 3), m(3, "x", 3, 3), m(4, "", 0, 0)}, []string{"1-3", "4"}, 0},
		{"side by side in the partition, other partitions' between", []arrival{m(1, "x", 1, 2), m(7, "x", 2, 2)}, []string{"1-7"}, 0},
		{"one part of one", []arrival{m(1, "x", 1, 1)}, []string{"1-1"}, 0},
		{"the same id twice", []arrival{m(1, "x", 1, 2), m(2, "x", 2, 2), m(3, "x", 1, 2), m(4, "x", 2, 2)}, []string{"1-2", "3-4"}, 0},
		{"the end of the log comes first", []arrival{m(1, "x", 1, 3), m(2, "x", 2, 3)}, nil, 2},
		{"something else comes in between", []arrival{m(1, "x", 1, 3), m(2, "x", 2, 3), m(3, "", 0, 0), m(4, "x", 3, 3)}, []string{"1 bad_part", "2 bad_part", "3", "4 bad_part"}, 0},
		{"another transaction comes in between", []arrival{m(1, "x", 1, 2), m(2, "y", 1, 2), m(3, "y", 2, 2)}, []string{"1 bad_part", "2-3"}, 0},
		{"another transaction's part", []arrival{m(1, "x", 1, 2), m(2, "y", 2, 2)}, []string{"1 bad_part", "2 bad_part"}, 0},
		{"a part is missing", []arrival{m(1, "x", 1, 3), m(3, "x", 3, 3)}, []string{"1 bad_part", "3 bad_part"}, 0},
		{"the beginning is missing", []arrival{m(2, "x", 2, 3), m(3, "x", 3, 3), m(4, "", 0, 0)}, []string{"2 bad_part", "3 bad_part", "4"}, 0},
		{"it begins again", []arrival{m(1, "x", 1, 2), m(2, "x", 1, 2), m(3, "x", 2, 2)}, []string{"1 bad_part", "2-3"}, 0},
		{"the number of parts changes", []arrival{m(1, "x", 1, 3), m(2, "x", 2, 2)}, []string{"1 bad_part", "2 bad_part"}, 0},
		{"a part is poison: all of it is", []arrival{m(1, "x", 1, 3), poison, m(3, "x", 3, 3)}, []string{"1-3 not_json"}, 0},
		{"an orphan that was poison keeps its reason", []arrival{m(1, "x", 1, 3), poison, m(3, "", 0, 0)}, []string{"1 bad_part", "2 not_json", "3"}, 0},
		{"a part is of another run", []arrival{m(1, "x", 1, 2), other}, []string{"1-2 bad_part"}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			known, a := assemble(test.messages...)
			require.Equal(t, test.known, known)
			require.Len(t, a.held, test.held)
		})
	}
}

func TestAPoisonPartHasNoOpsAndAReasonForPeople(t *testing.T) {
	t.Parallel()
	var a assembly
	require.Empty(t, a.add(message(1, "x", 1, 3)))
	known := a.add(message(2, "y", 2, 3))
	require.Empty(t, known[0].ev.Ops)
	require.Equal(t, `transaction "x" ends in the log after part 1 of 3`, known[0].ev.Poison.Reason)
	require.Equal(t, `part 2 of transaction "y" stands in the log without part 1 before it`, known[1].ev.Poison.Reason)
	require.EqualValues(t, 999, known[0].behind, "as when it was sent")
}

// What a transaction may be is bounded; one that is more is known to be poison before it is complete, and no longer held.
func TestATransactionThatIsTooMuchIsPoisonPartByPart(t *testing.T) {
	t.Parallel()
	const of = 80
	for name, row := range map[string]struct {
		grow func(*wire.Event)
		code string
		most int // parts that are held
	}{
		"in bytes": {func(ev *wire.Event) { ev.Size = 1 << 20 }, wire.CodeSize, wire.MaxTransaction >> 20},
		"in ops":   {func(ev *wire.Event) { ev.Ops = make([]wire.Op, 500) }, wire.CodeBody, wire.MaxOps / 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var (
				a     assembly
				known []string
				most  int
			)
			for no := 1; no <= of; no++ {
				m := message(uint64(no), "x", no, of)
				row.grow(&m.ev)
				for _, k := range a.add(m) {
					require.Empty(t, k.ev.Ops)
					known = append(known, told(k))
				}
				most = max(most, len(a.held))
			}
			require.Equal(t, row.most, most)
			var want []string
			for no := 1; no <= of; no++ {
				want = append(want, fmt.Sprintf("%d %s", no, row.code))
			}
			require.Equal(t, want, known)
			require.Zero(t, a, "the next is unencumbered")
		})
	}
	known, _ := assemble(message(1, "x", 1, 2), message(2, "x", 2, 2))
	require.Equal(t, []string{"1-2"}, known)
}

// Whatever the log holds: each message is given out once, in order; a transaction that is there is one event; no other part is applied.
func TestI5AnyLogIsAssembledAsItSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "messages")
		var log []arrival
		last := wire.Part{}
		for seq := uint64(1); seq <= uint64(n); seq++ {
			p := wire.Part{Transaction: last.Transaction, No: last.No + 1, Of: last.Of}
			if last.Transaction == "" || last.Last() || rapid.IntRange(0, 4).Draw(t, "breaks") == 0 {
				p.Of = rapid.IntRange(0, 4).Draw(t, "of")
				p.No = 1
				if p.Of > 0 && rapid.IntRange(0, 2).Draw(t, "misplaced") == 0 {
					p.No = rapid.IntRange(1, p.Of).Draw(t, "no")
				}
				p.Transaction = rapid.SampledFrom([]string{"x", "y"}).Draw(t, "transaction")
			}
			if p.Of == 0 {
				p = wire.Part{}
			}
			last = p
			log = append(log, message(seq, p.Transaction, p.No, p.Of))
		}
		var want []string
		held := 0
		for i := 0; i < len(log); i++ {
			p := log[i].ev.Part
			switch {
			case p.Transaction == "":
				want = append(want, fmt.Sprint(i+1))
				continue
			case p.No > 1:
				want = append(want, fmt.Sprintf("%d bad_part", i+1))
				continue
			}
			end := i
			for end+1 < len(log) && log[end+1].ev.Part.Follows(log[end].ev.Part) && !log[end].ev.Part.Last() {
				end++
			}
			switch {
			case log[end].ev.Part.Last():
				want = append(want, fmt.Sprintf("%d-%d", i+1, end+1))
			case end == len(log)-1:
				held = end - i + 1
			default:
				for j := i; j <= end; j++ {
					want = append(want, fmt.Sprintf("%d bad_part", j+1))
				}
			}
			i = end
		}
		known, a := assemble(log...)
		require.Equal(t, want, known)
		require.Len(t, a.held, held)
	})
}
