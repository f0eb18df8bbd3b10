package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// decoders saves the reader's own state between events; the body is read in place.
var decoders = sync.Pool{New: func() any { return &reader{dec: jsontext.NewDecoder(bytes.NewReader(nil))} }}

// Duplicate names are allowed in states: the databases accept them, so refusing would lose what the old store took. Members of
// the event itself are checked by hand.
var readerOptions = jsontext.AllowDuplicateNames(true)

// reader reads the members of an event's objects, in one pass:
//
//	open; then name and value in turn, until name is nil
//
// Names and values are parts of src, but for names with escapes.
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

// open begins the next value, which must be an object.
func (r *reader) open() error {
	tok, err := r.dec.ReadToken()
	if err != nil {
		return notJSON(err)
	}
	if tok.Kind() != '{' {
		return poison(CodeBody, "body is not a JSON object")
	}
	return nil
}

// name is the name of the object's next member; nil at its end, which is read with it.
func (r *reader) name() ([]byte, error) {
	if r.dec.PeekKind() == '}' {
		if _, err := r.dec.ReadToken(); err != nil {
			return nil, notJSON(err)
		}
		return nil, nil
	}
	quoted, err := r.value()
	if err != nil {
		return nil, err
	}
	name, err := unquote(quoted)
	if err != nil {
		return nil, notJSON(err)
	}
	return name, nil
}

// value is the next value.
func (r *reader) value() ([]byte, error) {
	value, err := r.dec.ReadValue()
	if err != nil {
		return nil, notJSON(err)
	}
	end := int(r.dec.InputOffset())
	return r.src[end-len(value) : end : end], nil
}

// end is for after the last value: there must be nothing more.
func (r *reader) end() error {
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return poison(CodeNotJSON, "body has something after its JSON object")
	}
	return nil
}

// unquote is what a JSON string says: not nil, and a part of it when nothing in it is escaped.
func unquote(quoted []byte) ([]byte, error) {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	return jsontext.AppendUnquote(make([]byte, 0, len(quoted)), quoted)
}

// parserTooDeep is what the parser says at 10,000 levels, where it gives up; it has no name for it. It is far above MaxDepth.
const parserTooDeep = "exceeded max depth"

// notJSON says what is wrong and where, as an offset: a reason ends up in logs and dead letters, and the parser's own error names the
// members of the state on the way.
func notJSON(err error) error {
	if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if syntax.Err.Error() == parserTooDeep {
			return poisonf(CodeDepth, "body is nested deeper than %d, after offset %d", MaxDepth, syntax.ByteOffset)
		}
		return poisonf(CodeNotJSON, "body is not valid JSON: %v after offset %d", syntax.Err, syntax.ByteOffset)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return poisonf(CodeNotJSON, "body is not valid JSON: %v", err)
}
