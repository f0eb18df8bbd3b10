package wire

import (
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

// The published schema and Decode say the same of every body, but for what a schema cannot say.
func TestTheSchemaAgreesWithDecode(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile("../../docs/event.schema.json")
	require.NoError(t, err)
	const rest = `"node_id":"n","state":{}`
	tests := []struct {
		name         string
		body         string
		good         bool
		beyondSchema bool // bad, and the schema does not know
	}{
		{"one step", `{"step":1,"node_id":"n","state":{"a":[1,null]}}`, true, false},
		{"one step with its id", `{"run_id":"run-001","step":1,` + rest + `}`, true, false},
		{"several", `{"run_id":"run-001","ops":[{"op":"step","step":1,` + rest + `},{"op":"step","step":2,` + rest + `}]}`, true, false},
		{"several without the id", `{"ops":[{"op":"step","step":1,` + rest + `}]}`, true, false},
		{"a state that is null", `{"step":1,"node_id":"","state":null}`, true, false},
		{"the lowest step", `{"step":-2147483648,` + rest + `}`, true, false},
		{"the highest step", `{"step":2147483647,` + rest + `}`, true, false},
		{"a node_id of 255 characters of four bytes", `{"step":1,"node_id":"` + strings.Repeat("\U0001F680", 255) + `","state":1}`, true, false},

		{"a step too low", `{"step":-2147483649,` + rest + `}`, false, false},
		{"a step too high", `{"step":2147483648,` + rest + `}`, false, false},
		{"a step with a fraction", `{"step":1.5,` + rest + `}`, false, false},
		{"a step in quotes", `{"step":"1",` + rest + `}`, false, false},
		{"no step", `{` + rest + `}`, false, false},
		{"no node_id", `{"step":1,"state":{}}`, false, false},
		{"no state", `{"step":1,"node_id":"n"}`, false, false},
		{"a node_id of 256 characters", `{"step":1,"node_id":"` + strings.Repeat("n", 256) + `","state":1}`, false, false},
		{"a node_id that is null", `{"step":1,"node_id":null,"state":1}`, false, false},
		{"an unknown member", `{"step":1,"x":1,` + rest + `}`, false, false},
		{"an unknown member beside ops", `{"x":1,"ops":[{"op":"step","step":1,` + rest + `}]}`, false, false},
		{"both forms", `{"step":1,` + rest + `,"ops":[{"op":"step","step":1,` + rest + `}]}`, false, false},
		{"no ops", `{"ops":[]}`, false, false},
		{"too many ops", `{"ops":[` + strings.Repeat(`{"op":"step","step":1,`+rest+`},`, MaxOps) + `{"op":"step","step":1,` + rest + `}]}`, false, false},
		{"an op of another kind", `{"ops":[{"op":"checkpoint","step":1,` + rest + `}]}`, false, false},
		{"an op without a kind", `{"ops":[{"step":1,` + rest + `}]}`, false, false},
		{"an op with a member too many", `{"ops":[{"op":"step","run_id":"run-001","step":1,` + rest + `}]}`, false, false},
		{"an op that is null", `{"ops":[null]}`, false, false},
		{"an array", `[]`, false, false},
		{"null", `null`, false, false},
		{"an empty id", `{"run_id":"","step":1,` + rest + `}`, false, false},
		{"an id ending in a space", `{"run_id":"run-001 ","step":1,` + rest + `}`, false, false},
		{"an id of 256 characters", `{"run_id":"` + strings.Repeat("x", 256) + `","step":1,` + rest + `}`, false, false},

		{"a member twice", `{"step":1,"step":1,` + rest + `}`, false, true},
		{"a whole number with a fraction of nothing", `{"step":1.0,` + rest + `}`, false, true},
		{"another run's id", `{"run_id":"run-002","step":1,` + rest + `}`, false, true},
		{"a state too deep", `{"step":1,"node_id":"n","state":` + strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1) + `}`, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ev := subjects.Decode(logged(test.body))
			require.Equal(t, test.good, ev.Poison == nil, "Decode: %v", ev.Poison)
			body, err := jsonschema.UnmarshalJSON(strings.NewReader(test.body))
			require.NoError(t, err)
			err = schema.Validate(body)
			require.Equal(t, test.good || test.beyondSchema, err == nil, "schema: %v", err)
		})
	}
}
