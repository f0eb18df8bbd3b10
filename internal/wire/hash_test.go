package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestContentIsTheSameWhateverTheSpellingAndAnotherWhenAnyValueDiffers(t *testing.T) {
	t.Parallel()
	hash := func(state string) [32]byte {
		return HashContent("run", []Op{{Type: OpStep, Step: 1, State: []byte(state)}})
	}
	for _, row := range []struct {
		name, a, b string
		same       bool
	}{
		{"blanks and the order of members", `{"a":1,"b":[2]}`, ` { "b" : [ 2 ], "a":1 }`, true},
		{"the spelling of a number", `1.0`, `1e0`, true},
		{"the spelling of a string", `"\u0061/"`, `"a\/"`, true},
		{"a name twice, in the same bytes", `{"a":1,"a":2}`, `{"a":1,"a":2}`, true},
		{"the order of an array", `[1,2]`, `[2,1]`, false},
		{"integers that no float64 tells apart", `{"id":9007199254740993}`, `{"id":9007199254740992}`, false},
		{"null and nothing", `{"a":null}`, `{}`, false},
	} {
		if row.same {
			require.Equal(t, hash(row.a), hash(row.b), row.name)
		} else {
			require.NotEqual(t, hash(row.a), hash(row.b), row.name)
		}
	}
}
