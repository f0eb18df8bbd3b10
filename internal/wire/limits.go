package wire

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of what the log may carry.
const (
	// MaxID is the length of an id in characters (not bytes): the id columns are VARCHAR(255).
	MaxID = 255
	// MaxBody is the size of a body in bytes, decompressed. Twice that, the worst case of escaping, fits the 16 MiB
	// max_allowed_packet that MariaDB has by default.
	MaxBody = 7 << 20
	// MaxDepth is how deep a state may be nested: MySQL's limit. MariaDB stops at MaxDepthPortable.
	MaxDepth = 100
	// MaxDepthPortable is the nesting that every supported server takes: MariaDB's JSON_VALID refuses more.
	MaxDepthPortable = 31
	// MaxAttempt is the largest number of an attempt.
	MaxAttempt = math.MaxInt32
	// MaxOps is how many writes one event may hold, over all its parts.
	MaxOps = 10_000
	// MaxParts is how many messages a transaction may be in: what an atomic batch of the server holds.
	MaxParts = 1000
	// MaxTransaction is the size of a transaction in bytes, decompressed, over all its parts: the daemon holds it in memory, and a
	// transaction of the database has to take it.
	MaxTransaction = 64 << 20
)

// CheckID reports as a *[Poison] why id cannot name a run or a checkpoint, or nil. Refused are ids that the database would
// confuse with another one (its VARCHAR comparison ignores trailing spaces), cannot hold, or cannot tell from no id at all.
func CheckID(id string) error {
	switch {
	case id == "":
		return poison(CodeID, "id is empty: give it at least one character")
	case !utf8.ValidString(id):
		return poison(CodeID, "id is not valid UTF-8")
	case strings.HasSuffix(id, " "):
		return poison(CodeID, "id ends in a space, which the database does not tell from the id without it: trim it")
	}
	if n := utf8.RuneCountInString(id); n > MaxID {
		return poison(CodeID, fmt.Sprintf("id has %d characters, more than the %d that the database holds: shorten or hash it", n, MaxID))
	}
	return nil
}

// CheckNodeID reports as a *[Poison] why id cannot name a node, or nil.
func CheckNodeID(id string) error {
	if !utf8.ValidString(id) {
		return poison(CodeNode, "node_id is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(id); n > MaxID {
		return poison(CodeNode, fmt.Sprintf("node_id has %d characters, more than the %d that the database holds: shorten it", n, MaxID))
	}
	return nil
}

// CheckLabel reports as a *[Poison] why label cannot be a checkpoint's, or nil. The empty one is none.
func CheckLabel(label string) error { return checkText("label", label) }

// CheckKey reports as a *[Poison] why key cannot be an idempotency key, or nil. The empty one is none.
func CheckKey(key string) error { return checkText("idempotency_key", key) }

// CheckTimestamp reports as a *[Poison] why t cannot be a V2 checkpoint's timestamp, or nil: a DATETIME's year has four digits, in UTC.
func CheckTimestamp(t time.Time) error {
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return poisonf(CodeBody, "timestamp is in the year %d, not 1 to 9999, in UTC", y)
	}
	return nil
}

// checkText is for what may be empty, and is looked for: a trailing space would make it another's.
func checkText(what, s string) error {
	switch {
	case !utf8.ValidString(s):
		return poison(CodeBody, what+" is not valid UTF-8")
	case strings.HasSuffix(s, " "):
		return poison(CodeBody, what+" ends in a space, which the database does not tell from the one without it: trim it")
	}
	if n := utf8.RuneCountInString(s); n > MaxID {
		return poisonf(CodeBody, "%s has %d characters, more than the %d that the database holds: shorten or hash it", what, n, MaxID)
	}
	return nil
}

// Depth is how deep the arrays and objects of a valid JSON text are nested: 0 for a scalar, 1 for {} and [].
func Depth(state []byte) int {
	depth, deepest := 0, 0
	for i := 0; i < len(state); i++ {
		switch state[i] {
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		case '"':
			i += quoted(state[i:])
		}
	}
	return deepest
}

// quoted is where the string that s begins with ends. Most states are strings for the most part, so it looks for what may end them rather
// than at each byte.
func quoted(s []byte) int {
	for i := 1; ; {
		n := bytes.IndexByte(s[i:], '"')
		if n < 0 {
			return len(s)
		}
		i += n
		escaped := 0
		for s[i-1-escaped] == '\\' {
			escaped++
		}
		if escaped%2 == 0 {
			return i
		}
		i++
	}
}

func poison(code, reason string) *Poison { return &Poison{Code: code, Reason: reason} }

func poisonf(code, format string, args ...any) *Poison {
	return &Poison{Code: code, Reason: fmt.Sprintf(format, args...)}
}
