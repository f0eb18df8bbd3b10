package mysqlstore

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// readLiteral reads the string literal at the beginning of q as the servers do under the store's session (utf8mb4, backslashes escape), and
// returns what it says and what of q is left; ok is false when it does not end.
func readLiteral(q []byte) (s, rest []byte, ok bool) {
	if len(q) == 0 || q[0] != '\'' {
		return nil, q, false
	}
	s = []byte{}
	for i := 1; i < len(q); i++ {
		if r, n := utf8.DecodeRune(q[i:]); n > 1 && r != utf8.RuneError { // a character's other bytes are not looked at
			s = append(s, q[i:i+n]...)
			i += n - 1
			continue
		}
		switch c := q[i]; {
		case c == '\'' && i+1 < len(q) && q[i+1] == '\'':
			s = append(s, '\'')
			i++
		case c == '\'':
			return s, q[i+1:], true
		case c == '\\' && i+1 < len(q):
			i++
			s = append(s, unescaped(q[i])...)
		default:
			s = append(s, c)
		}
	}
	return nil, q, false
}

// unescaped is what a backslash and c stand for.
func unescaped(c byte) []byte {
	switch c {
	case '0':
		return []byte{0}
	case 'n':
		return []byte{'\n'}
	case 'r':
		return []byte{'\r'}
	case 't':
		return []byte{'\t'}
	case 'b':
		return []byte{'\b'}
	case 'Z':
		return []byte{0x1a}
	case '%', '_': // kept for LIKE
		return []byte{'\\', c}
	default:
		return []byte{c}
	}
}

// FuzzLiteral: what is written as a literal is read as what it was, and what stands behind it is no part of it: by the servers' rule, which
// [TestTheServerReadsLiteralsByTheRuleOfTheFuzzTest] holds to the servers.
func FuzzLiteral(f *testing.F) {
	for _, s := range []string{"", "'", `\`, `\'`, "''", "';DROP TABLE workflow_steps;--", "\x00\n\r\x1a\"", "\xe5\\", "\xf0\x9f'", "é'", "\U0001F680\\", `\%\_`, "\x81\\'"} {
		f.Add([]byte(s), []byte(", 'rest')"))
	}
	f.Fuzz(func(t *testing.T, in, behind []byte) {
		if len(behind) > 0 && behind[0] == '\'' {
			behind = append([]byte(","), behind...) // two literals side by side are one, and never written
		}
		q := append(appendString(nil, in), behind...)
		out, rest, ok := readLiteral(q)
		if !ok || !bytes.Equal(in, out) || !bytes.Equal(behind, rest) {
			t.Fatalf("%q is written as %q and read as %q, with %q behind it", in, q, out, rest)
		}
		if same := appendString(nil, string(in)); !bytes.Equal(appendString(nil, in), same) {
			t.Fatalf("%q is another literal as a string: %q", in, same)
		}
		if out, rest, ok := readLiteral(append([]byte("'"), appendHex(nil, in)[2:]...)); !ok || len(out) != 2*len(in) || len(rest) != 0 {
			t.Fatalf("%q in hex is %q", in, appendHex(nil, in))
		}
	})
}

// FuzzTime: a time is a literal of one length, within the column's range, and to the microsecond what it was.
func FuzzTime(f *testing.F) {
	f.Add(int64(0), int64(0))
	f.Add(int64(2147483647), int64(999_999_999))
	f.Add(int64(-1<<62), int64(1<<62))
	f.Fuzz(func(t *testing.T, seconds, nanos int64) {
		at := time.Unix(seconds, nanos)
		out, _, ok := readLiteral(appendTime(nil, at))
		require.True(t, ok)
		got, err := time.Parse("2006-01-02 15:04:05.000000", string(out))
		require.NoError(t, err, "%s", out)
		switch {
		case at.Before(firstTime):
			at = firstTime
		case at.After(lastTime):
			at = lastTime
		}
		require.Equal(t, at.UTC().Truncate(time.Microsecond), got)
	})
}

// The rule that FuzzLiteral goes by is what the server does.
func TestTheServerReadsLiteralsByTheRuleOfTheFuzzTest(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	literals := []string{`''`, `''''`, `'a''b'`, `'\''`, `'\\'`, `'é\'é'`, `'\é'`, `'\%\_\a\q'`, "'\U0001F680\\\U0001F680'", `'\0\n\r\t\b\Z\"'`}
	for c := range 128 {
		if c != '\'' && c != '\\' {
			literals = append(literals, `'x\`+string(rune(c))+`y'`, `'x`+string(rune(c))+`y'`)
		}
	}
	for _, literal := range literals {
		want, rest, ok := readLiteral([]byte(literal))
		require.True(t, ok, "%q", literal)
		require.Empty(t, rest, "%q", literal)
		var got []byte
		require.NoError(t, s.readers.QueryRowContext(t.Context(), "SELECT "+literal).Scan(&got), "%q", literal)
		require.Equal(t, want, append([]byte{}, got...), "%q", literal)
	}
}
