package wire

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting is how deep the scanner follows arrays and objects, the event's own included. It is far above [MaxDepth].
const maxNesting = 10_000

// scan is where the JSON value that begins at src[at] ends, or -1: it is not valid JSON (RFC 8259) in valid UTF-8, half a surrogate pair in an
// escape is in it, or it is nested deeper than maxNesting. depth is that of src[at], from 1 on; deepest is the greatest that an array or an object
// in the value has, depth-1 when it is neither. Names may be there twice: the databases accept them, so refusing would lose what the old store took.
//
// What it takes jsontext takes, and the other way round; a fuzz test compares the two. It is here because the daemon spends most of what an
// event costs it in this check: most of a state is text, of which this looks at up to 32 bytes at a time.
func scan(src []byte, at, depth int) (end, deepest int) {
	if at >= len(src) {
		return -1, 0
	}
	switch c := src[at]; {
	case c == '"':
		return scanString(src, at), depth - 1
	case c == '{':
		return scanObject(src, at, depth)
	case c == '[':
		return scanArray(src, at, depth)
	case c == '-' || '0' <= c && c <= '9':
		return scanNumber(src, at), depth - 1
	case c == 't':
		return scanLiteral(src, at, "true"), depth - 1
	case c == 'f':
		return scanLiteral(src, at, "false"), depth - 1
	case c == 'n':
		return scanLiteral(src, at, "null"), depth - 1
	}
	return -1, 0
}

func scanObject(src []byte, at, depth int) (end, deepest int) {
	if depth > maxNesting {
		return -1, 0
	}
	at, deepest = space(src, at+1), depth
	if at < len(src) && src[at] == '}' {
		return at + 1, deepest
	}
	for {
		if at >= len(src) || src[at] != '"' {
			return -1, 0
		}
		if at = scanString(src, at); at < 0 {
			return -1, 0
		}
		if at = space(src, at); at >= len(src) || src[at] != ':' {
			return -1, 0
		}
		var inner int
		if at, inner = scan(src, space(src, at+1), depth+1); at < 0 {
			return -1, 0
		}
		deepest = max(deepest, inner)
		if at = space(src, at); at >= len(src) {
			return -1, 0
		}
		switch src[at] {
		case ',':
			at = space(src, at+1)
		case '}':
			return at + 1, deepest
		default:
			return -1, 0
		}
	}
}

func scanArray(src []byte, at, depth int) (end, deepest int) {
	if depth > maxNesting {
		return -1, 0
	}
	at, deepest = space(src, at+1), depth
	if at < len(src) && src[at] == ']' {
		return at + 1, deepest
	}
	for {
		var inner int
		if at, inner = scan(src, at, depth+1); at < 0 {
			return -1, 0
		}
		deepest = max(deepest, inner)
		if at = space(src, at); at >= len(src) {
			return -1, 0
		}
		switch src[at] {
		case ',':
			at = space(src, at+1)
		case ']':
			return at + 1, deepest
		default:
			return -1, 0
		}
	}
}

func scanLiteral(src []byte, at int, word string) int {
	if end := at + len(word); end <= len(src) && string(src[at:end]) == word {
		return end
	}
	return -1
}

// space is where the white space at src[at] ends.
func space(src []byte, at int) int {
	for at < len(src) && (src[at] == ' ' || src[at] == '\n' || src[at] == '\r' || src[at] == '\t') {
		at++
	}
	return at
}

func scanNumber(src []byte, at int) int {
	if src[at] == '-' {
		at++
	}
	switch {
	case at >= len(src):
		return -1
	case src[at] == '0':
		at++
	default:
		if at = scanDigits(src, at); at < 0 {
			return -1
		}
	}
	if at < len(src) && src[at] == '.' {
		if at = scanDigits(src, at+1); at < 0 {
			return -1
		}
	}
	if at < len(src) && (src[at] == 'e' || src[at] == 'E') {
		at++
		if at < len(src) && (src[at] == '+' || src[at] == '-') {
			at++
		}
		return scanDigits(src, at)
	}
	return at
}

// scanDigits is where the digits at src[at] end; -1 when there is none.
func scanDigits(src []byte, at int) int {
	from := at
	for at < len(src) && '0' <= src[at] && src[at] <= '9' {
		at++
	}
	if at == from {
		return -1
	}
	return at
}

func scanString(src []byte, at int) int {
	at++
	for {
		at += ascii(src[at:])
		if at >= len(src) {
			return -1
		}
		switch c := src[at]; {
		case c == '"':
			return at + 1
		case c == '\\':
			if at = scanEscape(src, at); at < 0 {
				return -1
			}
		case c >= utf8.RuneSelf:
			if at = scanRunes(src, at); at < 0 {
				return -1
			}
		default: // a control character
			return -1
		}
	}
}

// scanRunes is where the characters beyond ASCII that begin at src[at] end. Most of those take three bytes, of which only the second may be
// wrong in more ways than one, and that only behind 0xE0 and 0xED.
func scanRunes(src []byte, at int) int {
	for at < len(src) && src[at] >= utf8.RuneSelf {
		if c := src[at]; 0xE1 <= c && c <= 0xEF && c != 0xED && at+2 < len(src) && src[at+1]&0xC0 == 0x80 && src[at+2]&0xC0 == 0x80 {
			at += 3
			continue
		}
		r, n := utf8.DecodeRune(src[at:])
		if r == utf8.RuneError && n == 1 {
			return -1
		}
		at += n
	}
	return at
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// ascii is how many of text's first bytes are ASCII that stands for itself in a string: no control character, quote or backslash. Names and
// most values end within eight bytes; where they do not, four times as many are looked at as long as nothing is found.
func ascii(text []byte) int {
	at := 0
	for ; len(text)-at >= 8; at += 8 {
		if found := special(text[at:]); found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
		for ; len(text)-at >= 40; at += 32 {
			if next := text[at+8 : at+40]; special(next)|special(next[8:])|special(next[16:])|special(next[24:]) != 0 {
				break
			}
		}
	}
	for ; at < len(text); at++ {
		if c := text[at]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return at
}

// special has the highest bit set of those of text's first eight bytes that are not plain, and the first byte in the lowest eight bits. What it
// says is exact up to the first of them: a subtraction borrows from a byte above only where there is one. A byte from 0x80 on, which is not plain,
// is found as one that is no quote or as one that is no backslash: it loses its highest bit only where it differs from one of them in that bit alone.
func special(text []byte) uint64 {
	x := binary.LittleEndian.Uint64(text)
	return ((x - lows*' ') | (x ^ lows*'"' - lows) | (x ^ lows*'\\' - lows)) & highs
}

// scanEscape is where the escape that begins at src[at] ends.
func scanEscape(src []byte, at int) int {
	if at+1 >= len(src) {
		return -1
	}
	switch src[at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 2
	case 'u':
		r, ok := unit(src, at)
		if !ok {
			return -1
		}
		at += 6
		if !utf16.IsSurrogate(r) {
			return at
		}
		if low, ok := unit(src, at); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			return at + 6
		}
	}
	return -1
}

// unit is what the \uXXXX at src[at] says.
func unit(src []byte, at int) (r rune, ok bool) {
	if at+6 > len(src) || src[at] != '\\' || src[at+1] != 'u' {
		return 0, false
	}
	for _, c := range src[at+2 : at+6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
