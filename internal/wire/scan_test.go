package wire

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
)

var duplicates = jsontext.AllowDuplicateNames(true)

// oracle is where jsontext says that the value at the beginning of src ends; -1 when it is not valid.
func oracle(src []byte) int {
	dec := jsontext.NewDecoder(bytes.NewBuffer(bytes.Clone(src)), duplicates)
	if dec.SkipValue() != nil {
		return -1
	}
	return int(dec.InputOffset())
}

// scannedTo is where scan says that the value ends that src[at] begins, and it says how deep that is.
func scannedTo(t testing.TB, src []byte, at int) int {
	t.Helper()
	end, deepest := scan(src, at, 1)
	if end >= 0 && deepest != Depth(src[at:end]) {
		t.Fatalf("%.200q is %d deep, it was said to be %d", src[at:end], Depth(src[at:end]), deepest)
	}
	return end
}

// requireScannedAs requires of scan what jsontext says of src, wherever the eight bytes that are looked at together begin.
func requireScannedAs(t testing.TB, src []byte) {
	t.Helper()
	for pad := range 8 {
		text := append(bytes.Repeat([]byte(" "), pad), src...)
		if got, want := scannedTo(t, text, space(text, 0)), oracle(text); got != want {
			t.Fatalf("%.200q ends at %d, and jsontext says %d", text, got, want)
		}
	}
}

var scanned = []string{
	"", " ", "{}", "[]", "{ }", "[ ]", "[1, 2 ,3]", `{"a":1 , "a" : {"b":[]} }`, "[1,]", "[,1]", `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{1:2}`, "[1 2]", "{}}", "]", "[", "{", `{"`, `{"a`,
	"0", "-0", "-", "01", "-1.5e+10", "1.", "1.e", "1e", "1E-", "1E5", "1.0E+7", "+1", ".5", "123x", "--1",
	"true", "tru", "false", "falsch", "null", "nul", "nullnull", "True",
	`""`, `"a"`, `"`, `"a`, `"12345678"`, `"1234567"`, `"1234567\"9"`, "\"1234567\x01\"", "\"\x1f\"", "\"\x7f\"", `"\n\t\r\b\f\/\\\""`, `"\`, `"\x"`, `"\u"`, `"\u12"`, `"\u12G4"`, `"\u00aF"`,
	`"\ud800"`, `"\ud83d\ude00"`, `"\ud83d\u0041"`, `"\ude00"`, `"\ud83dx"`, `"\ud83d\`, `"\ud83d\u`, `"\ud83d\ude0"`,
	"\"é\"", "\"日本語のテキスト\"", "\"\xff\"", "\"\xc3\"", "\"\xe6\x97\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xc0\x80\"", "\"12345\xf0\x9f\x98\x80\"", "\"�\"", "\ufeff{}", "\x00",
}

func TestJSONIsWhatJSONTextSaysItIs(t *testing.T) {
	t.Parallel()
	for _, src := range scanned {
		requireScannedAs(t, []byte(src))
	}
	long := []byte(`"` + strings.Repeat("0123456789", 9) + `"`)
	for c := range 256 { // each byte at each place of those that are looked at together, and of what is left over
		for at := range len(long) - 2 {
			text := bytes.Clone(long)
			text[1+at] = byte(c)
			if got, want := scannedTo(t, text, 0), oracle(text); got != want {
				t.Fatalf("%q ends at %d, and jsontext says %d", text, got, want)
			}
		}
	}
	for _, n := range []int{maxNesting - 1, maxNesting, maxNesting + 1} {
		for _, src := range []string{strings.Repeat("[", n) + strings.Repeat("]", n), strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)} {
			require.Equal(t, oracle([]byte(src)), scannedTo(t, []byte(src), 0), n)
		}
	}
}

// Bytes of a text are changed, taken out and put in at random: what was close to JSON is nearly JSON.
func TestNearlyJSONIsWhatJSONTextSaysItIs(t *testing.T) {
	t.Parallel()
	const special = "\"\\{}[]:,0123456789eE+-.utfn \t\n\x00\x1f\x7f\x80\xbf\xc3\xe6\xed\xf0\xff/abcdDd8"
	rnd := rand.New(rand.NewPCG(1, 2))
	base := []byte(`{"a":[1,-2.5e+3,true,false,null,"x\n\u00e9\ud83d\ude00 é日本 and some longer text"],"b":{"c":{}},"a":"` + "\xf0\x9f\x98\x80" + `"}`)
	for range 5000 {
		src := bytes.Clone(base)
		for range 1 + rnd.IntN(3) {
			at, c := rnd.IntN(max(1, len(src))), special[rnd.IntN(len(special))]
			switch rnd.IntN(4) {
			case 0:
				src = append(src[:at], src[at+1:]...)
			case 1:
				src = append(src[:at], append([]byte{c}, src[at:]...)...)
			case 2:
				src = src[:max(8, at)]
			default:
				src[at] = c
			}
		}
		if got, want := scannedTo(t, src, space(src, 0)), oracle(src); got != want {
			t.Fatalf("%q ends at %d, and jsontext says %d", src, got, want)
		}
	}
}

func TestPlainTextEndsAtTheFirstByteThatIsNotPlain(t *testing.T) {
	t.Parallel()
	const special = "\"\\\x00\x1f\x80\xa0\xa2\xdc\xff"
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 50_000 {
		text := []byte(strings.Repeat("a! #][~\x7f", 12)[:rnd.IntN(97)])
		for range min(len(text), rnd.IntN(5)) {
			text[rnd.IntN(len(text))] = special[rnd.IntN(len(special))]
		}
		want := 0
		for want < len(text) && strings.IndexByte(special, text[want]) < 0 {
			want++
		}
		require.Equal(t, want, ascii(text), "%q", text)
	}
}

// FuzzScan: what the scanner takes jsontext takes, up to the same byte, and the other way round; and so it is for the members of an object.
func FuzzScan(f *testing.F) {
	for _, src := range scanned {
		f.Add([]byte(src))
	}
	for _, row := range meanings() {
		f.Add(row.msg.Body)
	}
	for _, row := range poisons() {
		if len(row.msg.Body) < 4<<10 {
			f.Add(row.msg.Body)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if got, want := scannedTo(t, src, space(src, 0)), oracle(src); got != want {
			t.Fatalf("%q ends at %d, and jsontext says %d", src, got, want)
		}
		got, err := walk(src)
		want, other := walkOracle(src)
		if (err == nil) != (other == nil) {
			t.Fatalf("%q: %v, and with jsontext %v", src, err, other)
		}
		if err == nil {
			require.Equal(t, want, got)
		}
	})
}

var errOther = errors.New("no such object")

// walk lists the names and values of the object that src is; the value of "ops" is walked, if it is a list of objects.
func walk(src []byte) (list []string, err error) {
	r := newReader(src)
	if list, err = walkObject(&r, list, true); err != nil {
		return nil, err
	}
	return list, r.end()
}

func walkObject(r *reader, list []string, outer bool) ([]string, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	for {
		name, err := r.name()
		if err != nil || name == nil {
			return append(list, "}"), err
		}
		list = append(list, "name "+string(name))
		if outer && string(name) == "ops" {
			ok, err := r.list()
			if err != nil {
				return nil, err
			}
			for more := ok; more; {
				if more, err = r.more(); err != nil {
					return nil, err
				} else if more {
					if list, err = walkObject(r, list, false); err != nil {
						return nil, err
					}
				}
			}
			if ok {
				continue
			}
		}
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		list = append(list, string(value))
	}
}

// walkOracle is walk with jsontext.
func walkOracle(src []byte) (list []string, err error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(bytes.Clone(src)), duplicates)
	if list, err = walkObjectOracle(dec, list, true); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errOther
	}
	return list, nil
}

func walkObjectOracle(dec *jsontext.Decoder, list []string, outer bool) ([]string, error) {
	if tok, err := dec.ReadToken(); err != nil || tok.Kind() != '{' {
		return nil, errors.Join(err, errOther)
	}
	for {
		if dec.PeekKind() == '}' {
			_, err := dec.ReadToken()
			return append(list, "}"), err
		}
		quoted, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		name, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return nil, err
		}
		list = append(list, "name "+string(name))
		if outer && string(name) == "ops" && dec.PeekKind() == '[' {
			if _, err := dec.ReadToken(); err != nil {
				return nil, err
			}
			for dec.PeekKind() != ']' {
				if list, err = walkObjectOracle(dec, list, false); err != nil {
					return nil, err
				}
			}
			if _, err := dec.ReadToken(); err != nil {
				return nil, err
			}
			continue
		}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		list = append(list, string(value))
	}
}

func BenchmarkScan(b *testing.B) {
	words := strings.Repeat("some text of a message, ", 40)
	for name, state := range map[string]string{
		"1KiB text":   `{"messages":"` + words + `"}`,
		"10KiB step":  `{"messages":[` + strings.Repeat(`{"role":"assistant","content":"`+words[:300]+`\n\"quoted\" é","tokens":123,"done":true},`, 24) + `null]}`,
		"10KiB small": `[` + strings.Repeat(`{"a":1,"b":[true,null]},`, 420) + `0]`,
		"10KiB kanji": `["` + strings.Repeat("日本語のテキスト", 420) + `"]`,
	} {
		src := []byte(state)
		b.Run("ours/"+name, func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				if end, _ := scan(src, 0, 1); end != len(src) {
					b.Fatal("no JSON")
				}
			}
		})
		b.Run("jsontext/"+name, func(b *testing.B) {
			dec, buf := jsontext.NewDecoder(bytes.NewReader(nil)), &bytes.Buffer{}
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				*buf = *bytes.NewBuffer(src)
				dec.Reset(buf, duplicates)
				if err := dec.SkipValue(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
