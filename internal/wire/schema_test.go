package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// The published schema and Decode say the same of every body, but for what a schema cannot say.
func TestTheSchemaAgreesWithDecode(t *testing.T) {
	t.Parallel()
	const rest = `"node_id":"n","state":{}`
	const op = `{"op":"step","step":1,` + rest + `}`
	type row struct {
		name string
		msg  Message
	}
	run := func(name, body string) row { return row{name, under(KindRun, "run-001", body)} }
	good := []row{
		run("one step", `{"step":1,"node_id":"n","state":{"a":[1,null]}}`),
		run("one step with its id", `{"run_id":"run-001","step":1,`+rest+`}`),
		run("several", `{"run_id":"run-001","ops":[`+op+`,`+op+`]}`),
		run("several without the id", `{"ops":[`+op+`]}`),
		run("a state that is null", `{"step":1,"node_id":"","state":null}`),
		run("the lowest step", `{"step":-2147483648,`+rest+`}`),
		run("the highest step", `{"step":2147483647,`+rest+`}`),
		run("a node_id of 255 characters of four bytes", `{"step":1,"node_id":"`+strings.Repeat("\U0001F680", 255)+`","state":1}`),
	}
	bad := []row{
		run("a step too low", `{"step":-2147483649,`+rest+`}`),
		run("a step too high", `{"step":2147483648,`+rest+`}`),
		run("a step with a fraction", `{"step":1.5,`+rest+`}`),
		run("a step in quotes", `{"step":"1",`+rest+`}`),
		run("no step", `{`+rest+`}`),
		run("no node_id", `{"step":1,"state":{}}`),
		run("no state", `{"step":1,"node_id":"n"}`),
		run("a node_id of 256 characters", `{"step":1,"node_id":"`+strings.Repeat("n", 256)+`","state":1}`),
		run("a node_id that is null", `{"step":1,"node_id":null,"state":1}`),
		run("an unknown member", `{"step":1,"x":1,`+rest+`}`),
		run("an unknown member beside ops", `{"x":1,"ops":[`+op+`]}`),
		run("both forms", `{"step":1,`+rest+`,"ops":[`+op+`]}`),
		run("no ops", `{"ops":[]}`),
		run("too many ops", `{"ops":[`+strings.Repeat(op+`,`, MaxOps)+op+`]}`),
		run("an op with the members of another", `{"ops":[{"op":"checkpoint","step":1,`+rest+`}]}`),
		run("an op without a name", `{"ops":[{"step":1,`+rest+`}]}`),
		run("an op with a member too many", `{"ops":[{"op":"step","run_id":"run-001","step":1,`+rest+`}]}`),
		run("an op that is null", `{"ops":[null]}`),
		run("an array", `[]`),
		run("null", `null`),
		run("an empty id", `{"run_id":"","step":1,`+rest+`}`),
		run("an id ending in a space", `{"run_id":"run-001 ","step":1,`+rest+`}`),
		run("an id of 256 characters", `{"run_id":"`+strings.Repeat("x", 256)+`","step":1,`+rest+`}`),
		run("an attempt as a step", `{"run_id":"run-001","attempt":1}`),
		run("a checkpoint as a step", `{"step":1,"state":{}}`),
		{"a step as a checkpoint", under(KindCheckpoint, "c", `{"step":1,`+rest+`}`)},
		{"a step as an attempt", under(KindAttempt, "run-001", `{"step":1,`+rest+`}`)},
	}
	// What a schema cannot say: see its description.
	beyond := map[string]bool{}
	for _, r := range []row{
		run("a member twice", `{"step":1,"step":1,`+rest+`}`),
		run("a whole number with a fraction of nothing", `{"step":1.0,`+rest+`}`),
		run("another run's id", `{"run_id":"run-002","step":1,`+rest+`}`),
		run("a state too deep", `{"step":1,"node_id":"n","state":`+strings.Repeat("[", MaxDepth+1)+strings.Repeat("]", MaxDepth+1)+`}`),
	} {
		bad, beyond[r.name] = append(bad, r), true
	}
	for _, name := range []string{
		"an attempt with a fraction", "an attempt twice", "another checkpoint's id", "another checkpoint's id beside a list", "a hash, and no checkpoint's id beside the list", "an attempt of another run",
		"a hash, and no checkpoint's id", "a frontier too deep", "recorded I/O too deep", "a V2 checkpoint's state too deep", "an event's data too deep",
		"a timestamp of the 30th of February", "a timestamp of the year 0", "a timestamp of the year 0 in UTC", "a timestamp of the year 10000 in UTC",
	} {
		beyond[name] = true
	}
	// The tables of ops_test.go: whatever is of the body alone.
	for _, m := range meanings() {
		good = append(good, row{m.name, m.msg})
	}
	for _, p := range poisons() {
		if p.code != CodeNotJSON && p.code != CodePart && !strings.Contains(p.msg.Subject, "%") {
			bad = append(bad, row{p.name, p.msg})
		}
	}

	schemas := map[string]*jsonschema.Schema{}
	for _, kind := range []string{KindRun, KindCheckpoint, KindAttempt} {
		var err error
		schemas[kind], err = jsonschema.NewCompiler().Compile("../../docs/event.schema.json#" + kind)
		require.NoError(t, err)
	}
	root, err := jsonschema.NewCompiler().Compile("../../docs/event.schema.json")
	require.NoError(t, err)
	check := func(r row, wantGood bool) {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			ev := subjects.Decode(r.msg)
			require.Equal(t, wantGood, ev.Poison == nil, "Decode: %v", ev.Poison)
			body, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.msg.Body))
			require.NoError(t, err)
			err = schemas[ev.Kind].Validate(body)
			require.Equal(t, wantGood || beyond[r.name], err == nil, "schema: %v", err)
			if ev.Kind == KindRun {
				require.Equal(t, err == nil, root.Validate(body) == nil, "the schema itself is that of a run's events")
			}
		})
	}
	for _, r := range good {
		check(r, true)
	}
	for _, r := range bad {
		check(r, false)
	}
}
