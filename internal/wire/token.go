package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxToken is the longest token that still spells its id, in bytes; a longer one is replaced by a hash.
const maxToken = 128

const upperHex = "0123456789ABCDEF"

// Token is the subject token of id: every byte outside [A-Za-z0-9_-] percent-encoded in upper-case hex or, when that is longer
// than 128 bytes, "~" and the hex SHA-256 of the id. Different ids have different tokens, and an id has exactly one.
func Token(id string) string {
	escaped := 0
	for i := range len(id) {
		if !plain(id[i]) {
			escaped++
		}
	}
	switch n := len(id) + 2*escaped; {
	case n > maxToken:
		sum := sha256.Sum256([]byte(id))
		return "~" + hex.EncodeToString(sum[:])
	case escaped == 0:
		return id
	default:
		b := make([]byte, 0, n)
		for i := range len(id) {
			if c := id[i]; plain(c) {
				b = append(b, c)
			} else {
				b = append(b, '%', upperHex[c>>4], upperHex[c&15])
			}
		}
		return string(b)
	}
}

// HashedToken reports whether token is a hash, from which the id cannot be had.
func HashedToken(token string) bool { return strings.HasPrefix(token, "~") }

// DecodeToken is the id that token spells. The error, a *[Poison], says why there is none: the token is a hash, or not the one
// token of any id (a reader looks under that one only, so a write under another would never be found).
func DecodeToken(token string) (string, error) {
	if HashedToken(token) {
		return "", poisonf(CodeToken, "token %q is a hash and the body names no id", token)
	}
	b := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c != '%' {
			b = append(b, c)
			continue
		}
		if i+2 >= len(token) {
			return "", poisonf(CodeToken, "token %q ends within a percent-encoded byte", token)
		}
		hi, lo := strings.IndexByte(upperHex, token[i+1]), strings.IndexByte(upperHex, token[i+2])
		if hi < 0 || lo < 0 {
			return "", poisonf(CodeToken, "token %q has a %% that two upper-case hex digits do not follow", token)
		}
		b = append(b, byte(hi<<4|lo)) //nolint:gosec // G115: two hex digits.
		i += 2
	}
	id := string(b)
	if canonical := Token(id); canonical != token {
		return "", poisonf(CodeToken, "token %q is not the token of its id: publish under %q", token, canonical)
	}
	return id, nil
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}
