package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
)

// Spelling says how numbers count when two JSON texts are compared.
type Spelling bool

const (
	// AnySpelling compares numbers by what they are to a database that keeps whole numbers of up to 64 bits and doubles: 1.10 is 1.1.
	AnySpelling Spelling = false
	// ExactSpelling compares the digits: what keeps the text it was given has no reason to change one.
	ExactSpelling Spelling = true
)

// SameJSON reports whether two JSON texts say the same, whatever blanks, escapes and order of members they have. Where a name is in an object
// twice, the last one counts.
func SameJSON(a, b []byte, numbers Spelling) bool {
	if bytes.Equal(a, b) {
		return true
	}
	x, err1 := anyJSON(a)
	y, err2 := anyJSON(b)
	return err1 == nil && err2 == nil && sameValue(x, y, numbers)
}

func anyJSON(text []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err //nolint:wrapcheck // only whether there is one counts.
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one value")
	}
	return v, nil
}

func sameValue(x, y any, numbers Spelling) bool {
	switch x := x.(type) {
	case map[string]any:
		y, ok := y.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			if w, ok := y[k]; !ok || !sameValue(v, w, numbers) {
				return false
			}
		}
		return true
	case []any:
		y, ok := y.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !sameValue(x[i], y[i], numbers) {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := y.(json.Number)
		return ok && (x == y || numbers == AnySpelling && sameNumber(string(x), string(y)))
	default:
		return x == y
	}
}

// sameNumber compares whole numbers that 64 bits hold as such, and all others as doubles.
func sameNumber(a, b string) bool {
	if x, ok := whole(a); ok {
		if y, ok := whole(b); ok {
			return x == y
		}
	}
	x, err1 := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err1 == nil && err2 == nil && x == y
}

// wholeNumber is a whole number of -2^63 to 2^64-1.
type wholeNumber struct {
	negative bool
	n        uint64
}

func whole(s string) (wholeNumber, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n < 0 {
		return wholeNumber{true, uint64(-n)}, true // of -2^63 it is 2^63
	}
	if s == "-0" {
		return wholeNumber{}, true
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return wholeNumber{n: n}, err == nil
}
