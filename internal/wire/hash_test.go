package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func hashOfState(state string) [32]byte {
	return HashContent("run-001", []Op{{Type: OpStep, Step: 1, NodeID: "n", State: []byte(state)}})
}

func TestTheHashIsOfWhatAStateSays(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string][2]string{
		"blanks":                         {`{"a":[1,2]}`, " {\n\"a\" : [ 1 ,\t2 ] } "},
		"the order of members":           {`{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"d":3,"c":2},"a":1}`},
		"escapes":                        {`"é/\u000a"`, `"\u00e9\/\n"`},
		"escapes in names":               {`{"a":1,"b":2}`, `{"b":2,"\u0061":1}`},
		"blanks among names twice":       {`{"a":1,"a":2}`, `{ "a" : 1 , "a" : 2 }`},
		"escapes among names twice":      {`{"a":"é","a":2}`, `{"a":"\u00e9","\u0061":2}`},
		"a large number with much after": {`[9007199254740993,{"a":1}]`, `[ 9007199254740993 , {"a":1} ]`},
	} {
		t.Run("whatever the "+name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, hashOfState(pair[0]), hashOfState(pair[1]))
		})
	}
	for name, pair := range map[string][2]string{
		"whole numbers beyond 53 bits":       {`9007199254740992`, `9007199254740993`},
		"whole numbers beyond 53 bits, deep": {`{"a":[{"id":9223372036854775807}]}`, `{"a":[{"id":9223372036854775806}]}`},
		"whole numbers beyond 64 bits":       {`100000000000000000000`, `100000000000000000001`},
		"fractions beyond 53 bits":           {`0.1`, `0.1000000000000000000001`},
		"numbers beyond double":              {`1e400`, `1e401`},
		"spellings of a number":              {`1`, `1.0`},
		"signs of nought":                    {`0`, `-0`},
		"a number and its text":              {`1`, `"1"`},
		"texts":                              {`"a"`, `"b"`},
		"texts in case":                      {`"a"`, `"A"`},
		"compositions of a letter":           {`"é"`, `"e\u0301"`},
		"orders of a list":                   {`[1,2]`, `[2,1]`},
		"orders of a name that is twice":     {`{"a":1,"a":2}`, `{"a":2,"a":1}`},
		"a name twice and once":              {`{"a":1,"a":2}`, `{"a":2}`},
		"nothing and null":                   {`{}`, `{"a":null}`},
		"an object and a list":               {`{}`, `[]`},
	} {
		t.Run("not whatever the "+name, func(t *testing.T) {
			t.Parallel()
			require.NotEqual(t, hashOfState(pair[0]), hashOfState(pair[1]))
		})
	}
}

func TestHashingLeavesTheStateAsItWasPublished(t *testing.T) {
	t.Parallel()
	for _, state := range []string{` { "b" : 1 , "a" : "\u0061" } `, ` { "a" : 1 , "a" : "\u0061" } `} {
		text := []byte(state)
		HashContent("run-001", []Op{{Type: OpStep, State: text}})
		require.Equal(t, state, string(text))
	}
}

// What a retry of the same work makes anew does not count; all else does.
func TestTheHashIsOfWhatAnEventWrites(t *testing.T) {
	t.Parallel()
	event := func(change func(id *string, ops []Op)) [32]byte {
		id := "run-001"
		ops := []Op{
			{Type: OpStep, Step: 1, NodeID: "n", State: []byte(`1`)},
			{Type: OpCheckpoint, ID: "c", Step: 2, State: []byte(`2`)},
			{
				Type: OpCheckpointV2, Step: 3, State: []byte(`3`),
				V2: &V2{Frontier: []byte(`4`), RecordedIOs: []byte(`5`), RNGSeed: 6, Label: "l", Key: "k", Timestamp: time.Unix(7, 0)},
			},
			{Type: OpOutbox, ID: "e", State: []byte(`8`)},
		}
		change(&id, ops)
		return HashContent(id, ops)
	}
	same := event(func(*string, []Op) {})
	for name, change := range map[string]func(*string, []Op){
		"the id of an event":  func(_ *string, ops []Op) { ops[3].ID = "f" },
		"the timestamp":       func(_ *string, ops []Op) { ops[2].V2.Timestamp = time.Time{} },
		"a null that is none": func(_ *string, ops []Op) { ops[2].V2.Frontier = []byte(` 4 `) },
	} {
		t.Run("whatever "+name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, same, event(change))
		})
	}
	for name, change := range map[string]func(*string, []Op){
		"the run":              func(id *string, _ []Op) { *id = "run-002" },
		"a step":               func(_ *string, ops []Op) { ops[0].Step = -1 },
		"a node":               func(_ *string, ops []Op) { ops[0].NodeID = "m" },
		"a state":              func(_ *string, ops []Op) { ops[0].State = []byte(`2`) },
		"a checkpoint's id":    func(_ *string, ops []Op) { ops[1].ID = "d" },
		"a V2 checkpoint step": func(_ *string, ops []Op) { ops[2].Step = 4 },
		"the frontier":         func(_ *string, ops []Op) { ops[2].V2.Frontier = []byte(`5`) },
		"both of it":           func(_ *string, ops []Op) { v := ops[2].V2; v.Frontier, v.RecordedIOs = v.RecordedIOs, v.Frontier },
		"the seed":             func(_ *string, ops []Op) { ops[2].V2.RNGSeed = -6 },
		"the label":            func(_ *string, ops []Op) { ops[2].V2.Label = "k" },
		"the key":              func(_ *string, ops []Op) { ops[2].V2.Key = "l" },
		"label and key":        func(_ *string, ops []Op) { v := ops[2].V2; v.Label, v.Key = "", "lk" },
		"an event's data":      func(_ *string, ops []Op) { ops[3].State = []byte(`9`) },
		"the order":            func(_ *string, ops []Op) { ops[0], ops[1] = ops[1], ops[0] },
		"the op":               func(_ *string, ops []Op) { ops[0].Type = OpOutbox },
	} {
		t.Run("not whatever "+name, func(t *testing.T) {
			t.Parallel()
			require.NotEqual(t, same, event(change))
		})
	}
	none := []Op{{Type: OpCheckpointV2, State: []byte(`1`), V2: &V2{}}}
	null := []Op{{Type: OpCheckpointV2, State: []byte(`1`), V2: &V2{Frontier: []byte("null"), RecordedIOs: []byte("null")}}}
	require.Equal(t, HashContent("r", none), HashContent("r", null), "what was not given is null")
}

// Two values that are drawn from few are often the same, written otherwise.
func TestTheHashTellsWhetherValuesAreTheSame(t *testing.T) {
	t.Parallel()
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalar := rapid.SampledFrom([]any{nil, true, "", "é\n", "\u2028<", json.Number("9007199254740993"), json.Number("9007199254740992"), json.Number("1e1")})
		if depth == 0 {
			return scalar
		}
		return rapid.OneOf(
			scalar,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 2), func(list []any) any { return list }),
			rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "é", "\""}), value(depth-1), 0, 3), func(m map[string]any) any { return m }),
		)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := value(2).Draw(t, "a"), value(2).Draw(t, "b")
		canonical := func(v any) string {
			s, err := json.Marshal(v) // sorts names, spells numbers as they are
			require.NoError(t, err)
			return string(s)
		}
		require.Equal(t, canonical(a) == canonical(b), hashOfState(spelled(t, a)) == hashOfState(spelled(t, b)))
		once, again := spelled(t, a), spelled(t, a)
		require.Equal(t, hashOfState(once), hashOfState(again))
	})
}

// spelled is v in one of the many ways to write it.
func spelled(t *rapid.T, v any) string {
	blank := rapid.SampledFrom([]string{"", " ", "\n\t"}).Draw(t, "blank")
	var b strings.Builder
	switch v := v.(type) {
	case []any:
		b.WriteString("[" + blank)
		for i, item := range v {
			if i > 0 {
				b.WriteString(blank + ",")
			}
			b.WriteString(spelled(t, item))
		}
		b.WriteString("]")
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		b.WriteString("{")
		for i, name := range rapid.Permutation(names).Draw(t, "order") {
			if i > 0 {
				b.WriteString("," + blank)
			}
			b.WriteString(spelled(t, name) + ":" + spelled(t, v[name]))
		}
		b.WriteString("}")
	default:
		s, _ := json.Marshal(v)
		if text, ok := v.(string); ok && rapid.Bool().Draw(t, "escaped") {
			s, _ = json.Marshal(text)
			s = []byte(strings.NewReplacer("é", `\u00e9`, "a", `\u0061`).Replace(string(s)))
		}
		b.Write(s)
	}
	return blank + b.String() + blank
}
