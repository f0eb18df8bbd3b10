package wire

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// states are JSON texts as they may come: with blanks, escapes, big numbers and doubled names.
func states() *rapid.Generator[string] {
	blank := rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r\n "})
	var value func(depth int) *rapid.Generator[string]
	value = func(depth int) *rapid.Generator[string] {
		scalars := rapid.OneOf(
			rapid.SampledFrom([]string{"null", "true", "0", "-0", "1.50", "1E+400", "12345678901234567890123", `""`, `"\u0000\/"`, `"\ud83d\ude80"`, `"{[\"]}\\"`}),
			rapid.Map(rapid.String(), func(s string) string { b, _ := json.Marshal(s); return string(b) }),
		)
		if depth == 0 {
			return scalars
		}
		return rapid.OneOf(scalars, rapid.Custom(func(t *rapid.T) string {
			var b strings.Builder
			object := rapid.Bool().Draw(t, "object")
			b.WriteString(map[bool]string{true: "{", false: "["}[object])
			for i := range rapid.IntRange(0, 3).Draw(t, "n") {
				if i > 0 {
					b.WriteString(",")
				}
				b.WriteString(blank.Draw(t, "blank"))
				if object {
					b.WriteString(rapid.SampledFrom([]string{`"a"`, `"b}"`, `"\""`}).Draw(t, "name") + ":")
				}
				b.WriteString(value(depth-1).Draw(t, "value"))
				b.WriteString(blank.Draw(t, "blank"))
			}
			b.WriteString(map[bool]string{true: "}", false: "]"}[object])
			return b.String()
		}))
	}
	return value(5)
}

// names are what the database tells apart, and holds.
func names() *rapid.Generator[string] {
	return rapid.OneOf(rapid.StringMatching(`[a-zé. "\\/%~]{0,40}[a-z]`), rapid.SampledFrom([]string{longID, "\x00", "\u2028<&>", strings.Repeat("\U0001F680", 255)}))
}

// opsOf are the ops that an event of kind, under the key id, may have.
func opsOf(kind, id string) *rapid.Generator[[]Op] {
	state := rapid.Map(states(), func(s string) []byte { return []byte(s) })
	seconds := rapid.Int64Range(time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC).Unix())
	op := rapid.Custom(func(t *rapid.T) Op {
		types := []OpType{OpStep, OpCheckpoint, OpCheckpointV2, OpOutbox, OpDeleteRun}
		if kind == KindCheckpoint {
			types = types[1:2]
		}
		op := Op{Type: rapid.SampledFrom(types).Draw(t, "type"), Step: rapid.Int32().Draw(t, "step"), State: state.Draw(t, "state")}
		switch op.Type {
		case OpStep:
			op.NodeID = rapid.StringN(0, MaxID, -1).Draw(t, "node")
		case OpCheckpoint:
			op.ID = names().Draw(t, "id")
		case OpOutbox:
			op.ID, op.Step = names().Draw(t, "id"), 0
		case OpDeleteRun:
			op.Step, op.State = 0, nil
		default:
			op.V2 = &V2{
				Frontier: state.Draw(t, "frontier"), RecordedIOs: state.Draw(t, "I/O"), RNGSeed: rapid.Int64().Draw(t, "seed"),
				Label: rapid.SampledFrom([]string{"", "l", "é\n"}).Draw(t, "label"), Key: rapid.SampledFrom([]string{"", "", "k", "ü\"\\"}).Draw(t, "key"),
			}
			if rapid.Bool().Draw(t, "timed") {
				op.V2.Timestamp = time.Unix(seconds.Draw(t, "seconds"), rapid.Int64Range(0, 999_999).Draw(t, "µs")*1000).UTC()
			}
		}
		return op
	})
	if kind == KindAttempt {
		return rapid.Just([]Op{{Type: OpAttempt}})
	}
	return rapid.Custom(func(t *rapid.T) []Op {
		ops := rapid.SliceOfN(op, 1, 6).Draw(t, "ops")
		if kind == KindCheckpoint && rapid.Bool().Draw(t, "own") {
			ops[0].ID = id
		}
		return ops
	})
}

// written is an event as a client has it before it encodes it.
type written struct {
	kind, id string
	attempt  uint32
	hash     *[32]byte
	ops      []Op
}

func writes() *rapid.Generator[written] {
	return rapid.Custom(func(t *rapid.T) written {
		w := written{kind: rapid.SampledFrom([]string{KindRun, KindRun, KindCheckpoint, KindAttempt}).Draw(t, "kind"), id: names().Draw(t, "id")}
		w.ops = opsOf(w.kind, w.id).Draw(t, "ops")
		if w.kind == KindAttempt || w.kind == KindRun && rapid.Bool().Draw(t, "attempted") {
			w.attempt = rapid.Uint32Range(1, math.MaxInt32).Draw(t, "attempt")
		}
		if w.kind == KindRun && rapid.Bool().Draw(t, "hashed") {
			w.hash = &someSum
		}
		return w
	})
}

func (w written) runID() string {
	if w.kind == KindCheckpoint {
		return ""
	}
	return w.id
}

// message is w with the given ops, as it is in the log.
func (w written) message(t *rapid.T, header Header, ops []Op) Message {
	m := Message{Subject: subjects.Log(3, "default", w.kind, w.id), Header: header, Body: AppendEvent(nil, w.kind, w.id, w.attempt, w.hash, ops)}
	if rapid.Bool().Draw(t, "compressed") {
		m.Header = Header{HeaderEncoding: {EncodingZstd}}
		maps.Copy(m.Header, header)
		m.Body = Compress(m.Body)
	}
	return m
}

// The state is never decoded and encoded again, nor is anything else lost.
func TestWhatIsEncodedIsDecodedByteForByte(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := writes().Draw(t, "written")
		for i := range w.ops {
			if w.ops[i].State != nil {
				require.NoError(t, CheckState(w.ops[i].State, MaxDepth))
			}
		}
		ev := subjects.Decode(w.message(t, nil, w.ops))
		require.Nil(t, ev.Poison)
		require.Equal(t, w.runID(), ev.RunID)
		require.Equal(t, 3, ev.Partition)
		require.Equal(t, w.attempt, ev.Attempt)
		require.Equal(t, seen(w.ops), ev.Ops)
		require.Equal(t, w.hash != nil, ev.GivenHash)
		switch {
		case w.hash != nil:
			require.Equal(t, *w.hash, ev.ContentHash)
		case len(ev.Keys()) > 0:
			require.Equal(t, HashContent(w.id, w.ops), ev.ContentHash)
		}
	})
}

// However a transaction is cut into parts, it is the event that it would be in one message.
func TestPartsJoinToTheWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := writes().Filter(func(w written) bool { return w.kind != KindAttempt }).Draw(t, "written")
		cuts := rapid.SliceOfN(rapid.Bool(), len(w.ops), len(w.ops)).Draw(t, "cuts")
		var cut [][]Op
		from := 0
		for i := range w.ops {
			if cuts[i] || i == len(w.ops)-1 {
				cut = append(cut, w.ops[from:i+1])
				from = i + 1
			}
		}
		var (
			parts    []Event
			messages []Message
			size     int
			last     Part
		)
		for i, ops := range cut {
			m := w.message(t, Header{HeaderPart: {fmt.Sprintf("tx %d of %d", i+1, len(cut))}}, ops)
			m.Sequence = uint64(10 + i)
			ev := subjects.Decode(m)
			require.Nil(t, ev.Poison)
			require.True(t, ev.Part.Follows(last))
			require.Equal(t, i == len(cut)-1, ev.Part.Last())
			parts, messages, size, last = append(parts, ev), append(messages, m), size+ev.Size, ev.Part
		}
		whole := subjects.Decode(w.message(t, nil, w.ops))
		ev := Join(parts)
		require.Nil(t, ev.Poison)
		require.Equal(t, messages[len(messages)-1], ev.Message)
		require.Equal(t, messages, ev.Parts)
		require.Equal(t, size, ev.Size)
		require.Zero(t, ev.Part)
		ev.Message, ev.Parts, ev.Size, whole.Message, whole.Size = Message{}, nil, 0, Message{}, 0
		require.Equal(t, whole, ev)
	})
}
