package wire

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// decoders saves the reader's own state between events; the body is read in place.
var decoders = sync.Pool{New: func() any { return &reader{dec: jsontext.NewDecoder(bytes.NewReader(nil))} }}

// Duplicate names are allowed in states: the databases accept them, so refusing would lose what the old store took. Members of
// the event itself are checked by hand.
var readerOptions = jsontext.AllowDuplicateNames(true)

// reader reads the members of an event's objects; values are sub-slices of src.
type reader struct {
	src []byte
	buf bytes.Buffer
	dec *jsontext.Decoder
}

// acquireReader takes a reader of src from the pool; free gives it back, and lets go of src.
func acquireReader(src []byte) *reader {
	r := decoders.Get().(*reader) //nolint:forcetypeassert // the pool's New makes nothing else.
	r.src, r.buf = src, *bytes.NewBuffer(src)
	r.dec.Reset(&r.buf, readerOptions)
	return r
}

func (r *reader) free() {
	r.src, r.buf = nil, bytes.Buffer{}
	r.dec.Reset(&r.buf, readerOptions)
	decoders.Put(r)
}

// object reads the next value, which must be an object, and hands over its members; value is a part of r.src.
func (r *reader) object(member func(name string, value []byte) error) error {
	tok, err := r.dec.ReadToken()
	if err != nil {
		return notJSON(err)
	}
	if tok.Kind() != '{' {
		return poison(CodeBody, "body is not a JSON object")
	}
	for {
		tok, err := r.dec.ReadToken()
		if err != nil {
			return notJSON(err)
		}
		if tok.Kind() == '}' {
			return nil
		}
		name := tok.String()
		value, err := r.dec.ReadValue()
		if err != nil {
			return notJSON(err)
		}
		end := int(r.dec.InputOffset())
		if err := member(name, r.src[end-len(value):end:end]); err != nil {
			return err
		}
	}
}

// members is the set of an object's names seen so far; objects of an event have few.
type members []string

func (m *members) add(name string) bool {
	if slices.Contains(*m, name) {
		return false
	}
	*m = append(*m, name)
	return true
}

// notJSON says what is wrong and where, as an offset: a reason ends up in logs and dead letters, and the parser's own error names the
// members of the state on the way.
func notJSON(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return poisonf(CodeNotJSON, "body is not valid JSON: %v after offset %d", syntax.Err, syntax.ByteOffset)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return poisonf(CodeNotJSON, "body is not valid JSON: %v", err)
}
