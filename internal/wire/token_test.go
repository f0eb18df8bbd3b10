package wire

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var alphabet = regexp.MustCompile(`^([A-Za-z0-9_%-]{1,128}|~[0-9a-f]{64})$`)

// ids are drawn from what people and attackers use, and from anything else.
func ids() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringN(1, 300, -1),
		rapid.StringMatching(`[a-zA-Z0-9_-]{1,140}`),
		rapid.StringMatching(`[.*>%~ A/"\\]{1,60}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 200), func(b []byte) string { return string(b) }),
	)
}

func TestTokenVectors(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, id, token string }{
		{"plain ids are their own tokens", "run-001_A", "run-001_A"},
		{"dots", "a.b", "a%2Eb"},
		{"wildcards", "*>", "%2A%3E"},
		{"a space within", "a b", "a%20b"},
		{"slashes and percents", "a/100%", "a%2F100%25"},
		{"what looks encoded is encoded again", "%2E", "%252E"},
		{"a tilde cannot pass for a hash", "~abc", "%7Eabc"},
		{"quotes and line breaks", "\"\n", "%22%0A"},
		{"two bytes", "ü", "%C3%BC"},
		{"four bytes", "\U0001F680", "%F0%9F%9A%80"},
		{"128 bytes stay", strings.Repeat("x", 128), strings.Repeat("x", 128)},
		{"129 bytes are hashed", strings.Repeat("x", 129), "~0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd"},
		{"128 bytes when encoded stay", strings.Repeat(".", 42) + "xx", strings.Repeat("%2E", 42) + "xx"},
		{"129 bytes when encoded are hashed", strings.Repeat(".", 43), "~ccdd8b01ec84d763e8e50f9ff245fc941c02200aa154de561fad6c58fa15e9f3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.token, Token(test.id))
			if HashedToken(test.token) {
				return
			}
			id, err := DecodeToken(test.token)
			require.NoError(t, err)
			require.Equal(t, test.id, id)
		})
	}
}

func TestTokensAreSubjectTokensOfBoundedLength(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		require.Regexp(t, alphabet, Token(ids().Draw(t, "id")))
	})
}

func TestTokensTellIDsApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := ids().Draw(t, "a"), ids().Draw(t, "b")
		require.Equal(t, a == b, Token(a) == Token(b))
		// A neighbour of a: what an encoding that forgets to encode itself would mix up.
		require.NotEqual(t, Token(a), Token(Token(a)+"%"))
		if enc := Token(a); enc != a {
			require.NotEqual(t, Token(enc), enc)
		}
	})
}

func TestTokensRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := ids().Draw(t, "id")
		got, err := DecodeToken(Token(id))
		if HashedToken(Token(id)) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, id, got)
	})
}

func TestDecodeTokenRefusesWhatNoIDHas(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]string{
		"lower-case hex":              "%2e",
		"a byte that needs no escape": "%41",
		"a percent at the end":        "a%",
		"half an escape at the end":   "a%2",
		"a percent before no hex":     "%G0",
		"a byte that must be escaped": "a b",
		"raw bytes above ASCII":       "ü",
		"a hash":                      "~" + strings.Repeat("0", 64),
		"a spelled id that is hashed": strings.Repeat("x", 129),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeToken(token)
			var p *Poison
			require.ErrorAs(t, err, &p)
			require.Equal(t, CodeToken, p.Code)
		})
	}
}

func TestCheckID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", " a", "a.b", "a\n", "a\u00a0", strings.Repeat("\U0001F680", 255), "\x00"} {
		require.NoError(t, CheckID(id), "%q", id)
	}
	for _, id := range []string{"", " ", "a ", "\xff", "a\xc3", strings.Repeat("x", 256), strings.Repeat("\U0001F680", 256)} {
		var p *Poison
		require.ErrorAs(t, CheckID(id), &p, "%q", id)
		require.Equal(t, CodeID, p.Code)
		require.True(t, utf8.ValidString(p.Reason))
	}
	require.NoError(t, CheckNodeID(""))
	require.NoError(t, CheckNodeID(strings.Repeat("ü", 255)))
	require.Error(t, CheckNodeID(strings.Repeat("ü", 256)))
	require.Error(t, CheckNodeID("\xff"))
}
