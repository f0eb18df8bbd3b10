package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf16"

	"pgregory.net/rapid"
)

// sameValue says how got is another value than want, as MySQL tells values apart: of a doubled key the last value counts, keys have no
// order, whole numbers are exact to 64 bits, and all other numbers are doubles.
func sameValue(want, got []byte) error {
	w, err := decodeValue(want)
	if err != nil {
		return err
	}
	g, err := decodeValue(got)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(w, g) {
		return fmt.Errorf("value is another: %.1000s", got)
	}
	return nil
}

func decodeValue(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return withNumbers(v)
}

// withNumbers is v with its numbers as MySQL has them.
func withNumbers(v any) (_ any, err error) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			var e error
			v[i], e = withNumbers(v[i])
			err = errors.Join(err, e)
		}
		return v, err
	case map[string]any:
		for k := range v {
			var e error
			v[k], e = withNumbers(v[k])
			err = errors.Join(err, e)
		}
		return v, err
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n, nil
		}
		return strconv.ParseFloat(v.String(), 64)
	default:
		return v, nil
	}
}

// numbers are those at which a parser or a type ends.
var numbers = []string{
	"0", "-0", "0.0", "-0.0", "0e0", "-1", "1e0", "1E+2", "1e-2", "1.10", "0.1", "1.0000000000000001",
	"2147483647", "-2147483648", "4294967296", "9007199254740991", "9007199254740992", "9007199254740993", "-9007199254740993",
	"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
	"18446744073709551616", "123456789012345678901234567890", "3.14159265358979323846264338327950288419716939937510582097494459",
	"5e-324", "4.9406564584124654e-324", "2.2250738585072011e-308", "2.2250738585072014e-308", "1.7976931348623157e308", "-1.7976931348623157E+308",
}

// drawJSON draws a JSON text that is nested at most depth deep.
func drawJSON(t *rapid.T, label string, depth int) string {
	d := drawer{t: t, label: label}
	if rapid.IntRange(0, 19).Draw(t, label) == 0 { // to the limit
		n := rapid.IntRange(1, depth-1).Draw(t, label)
		inner := depth - n
		for range n {
			if rapid.Bool().Draw(t, label) {
				d.WriteString(`[`)
				d.closing = "]" + d.closing
			} else {
				d.WriteString(`{"":`)
				d.closing = "}" + d.closing
			}
		}
		d.value(min(inner, 3))
		return d.String() + d.closing
	}
	d.value(min(depth, 5))
	return d.String()
}

type drawer struct {
	strings.Builder
	t       *rapid.T
	label   string
	closing string
}

func (d *drawer) value(depth int) {
	kind := rapid.IntRange(0, 7).Draw(d.t, d.label)
	if depth == 0 {
		kind = min(kind, 5)
	}
	switch kind {
	case 0:
		d.WriteString(rapid.SampledFrom([]string{"null", "true", "false", `""`}).Draw(d.t, d.label))
	case 1:
		d.WriteString(rapid.SampledFrom(numbers).Draw(d.t, d.label))
	case 2:
		d.WriteString(strconv.FormatInt(rapid.Int64().Draw(d.t, d.label), 10))
	case 3:
		d.WriteString(strconv.FormatFloat(rapid.Float64().Filter(finite).Draw(d.t, d.label), rapid.SampledFrom([]byte("eg")).Draw(d.t, d.label), -1, 64))
	case 4, 5:
		d.text()
	case 6:
		d.list("[", "]", depth, func() {})
	case 7:
		d.list("{", "}", depth, func() {
			d.text()
			d.WriteString(":")
		})
	}
}

func finite(f float64) bool { return f-f == 0 }

func (d *drawer) list(begin, end string, depth int, key func()) {
	d.WriteString(begin)
	for i := range rapid.IntRange(0, 4).Draw(d.t, d.label) {
		if i > 0 {
			d.WriteString(",")
		}
		key()
		d.value(depth - 1)
	}
	d.WriteString(end)
}

// text draws a string, and how it is spelled.
func (d *drawer) text() {
	s := rapid.OneOf(rapid.StringN(0, 20, -1), rapid.SampledFrom([]string{"", "a", "\x00", `\`, `"`, "'", "é", "e\u0301", "🦊", "\u2028", "<&>", "\ufffd"})).Draw(d.t, d.label)
	if rapid.Bool().Draw(d.t, d.label) {
		quoted, err := json.Marshal(s)
		if err != nil {
			d.t.Fatal(err)
		}
		d.Write(quoted)
		return
	}
	d.WriteString(`"`)
	for _, unit := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(d, `\u%04x`, unit)
	}
	d.WriteString(`"`)
}
