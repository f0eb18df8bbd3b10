package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJSONIsTheSameWhenItSaysTheSame(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, a, b   string
		any, exactly bool
	}{
		{"the same bytes", `{"a":1}`, `{"a":1}`, true, true},
		{"blanks and order", `{"b":1,"a":[1,2]}`, `{"a": [1, 2], "b": 1}`, true, true},
		{"escapes", `"\u00e9\/"`, `"é/"`, true, true},
		{"of a doubled name the last", `{"a":1,"a":2}`, `{"a":2}`, true, true},
		{"a number's spelling", `[1.10,1e2,-0]`, `[1.1,100.0,0]`, true, false},
		{"whole numbers beyond 2^53 that differ", `9007199254740993`, `9007199254740992`, false, false},
		{"whole numbers of 64 bits without a sign that differ", `18446744073709551615`, `18446744073709551614`, false, false},
		{"the least whole number", `-9223372036854775808`, `-9223372036854775807`, false, false},
		{"whole numbers beyond 64 bits become doubles", `18446744073709551616`, `1.8446744073709552e19`, true, false},
		{"another number", `1`, `2`, false, false},
		{"a number is no string", `1`, `"1"`, false, false},
		{"a member more", `{"a":1}`, `{"a":1,"b":null}`, false, false},
		{"an element more", `[1]`, `[1,2]`, false, false},
		{"order of elements", `[1,2]`, `[2,1]`, false, false},
		{"null is not absent", `{"a":null}`, `{"b":null}`, false, false},
		{"case of a name", `{"a":1}`, `{"A":1}`, false, false},
		{"no JSON", `{`, `{}`, false, false},
		{"a second value", `1 2`, `1`, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.any, SameJSON([]byte(row.a), []byte(row.b), AnySpelling))
			require.Equal(t, row.any, SameJSON([]byte(row.b), []byte(row.a), AnySpelling))
			require.Equal(t, row.exactly, SameJSON([]byte(row.a), []byte(row.b), ExactSpelling))
		})
	}
}
