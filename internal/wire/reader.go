package wire

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// reader reads the members of an event's objects, in one pass:
//
//	open; then name and value in turn, until name is nil
//
// and, where a value is a list of objects: list; then more and an object in turn, until there is no more. Names and values are parts of
// src, but for names with escapes.
type reader struct {
	src   []byte
	at    int  // what comes next
	depth int  // of it, as [scan] has it
	first bool // it is the first of its object or list
	named bool // it is the value of the name read last

	nested int // how deep the value read last is, as [Depth] has it
}

func newReader(src []byte) reader { return reader{src: src, depth: 1, first: true} }

// next goes to where the next value begins: behind the comma or colon before it. What ends the object or list is end, 0 for nothing.
func (r *reader) next(end byte) (ended bool, err error) {
	r.at = space(r.src, r.at)
	delim := byte(',')
	switch {
	case r.depth == 1: // the text's only value
		return false, nil
	case r.named:
		delim = ':'
	case end != 0 && r.at < len(r.src) && r.src[r.at] == end:
		r.at, r.depth, r.first = r.at+1, r.depth-1, false
		return true, nil
	case r.first:
		return false, nil
	}
	if r.at >= len(r.src) || r.src[r.at] != delim {
		return false, r.notJSON()
	}
	r.at = space(r.src, r.at+1)
	return false, nil
}

// begin begins an object or a list.
func (r *reader) begin() { r.at, r.depth, r.first, r.named = r.at+1, r.depth+1, true, false }

// open begins the next value, which must be an object.
func (r *reader) open() error {
	if _, err := r.next(0); err != nil {
		return err
	}
	if r.at < len(r.src) && r.src[r.at] == '{' {
		r.begin()
		return nil
	}
	if r.at < len(r.src) && r.src[r.at] != '[' { // of a list that is not one, its beginning is not valid either
		if _, err := r.skip(); err != nil {
			return err
		}
	} else if r.at >= len(r.src) {
		return r.notJSON()
	}
	return poison(CodeBody, "body is not a JSON object")
}

// name is the name of the object's next member; nil at its end, which is read with it.
func (r *reader) name() ([]byte, error) {
	if ended, err := r.next('}'); err != nil || ended {
		return nil, err
	}
	if r.at >= len(r.src) || r.src[r.at] != '"' {
		return nil, r.notJSON()
	}
	quoted, err := r.skip()
	if err != nil {
		return nil, err
	}
	r.named = true
	name, err := unquote(quoted)
	if err != nil {
		return nil, notJSON(err)
	}
	return name, nil
}

// value is the value of the name read last.
func (r *reader) value() ([]byte, error) {
	if _, err := r.next(0); err != nil {
		return nil, err
	}
	return r.skip()
}

// skip is the value that begins here.
func (r *reader) skip() ([]byte, error) {
	end, deepest := scan(r.src, r.at, r.depth)
	if end < 0 {
		return nil, r.notJSON()
	}
	r.nested = deepest - r.depth + 1
	value := r.src[r.at:end:end]
	r.at, r.first, r.named = end, false, false
	return value, nil
}

// list begins the value of the name read last, if it is a list; else it is as before.
func (r *reader) list() (ok bool, err error) {
	before := *r
	if _, err := r.next(0); err != nil {
		return false, err
	}
	if r.at < len(r.src) && r.src[r.at] == '[' {
		r.begin()
		return true, nil
	}
	*r = before
	return false, nil
}

// more reports whether the list goes on; if not, its end is read.
func (r *reader) more() (bool, error) {
	here := *r
	ended, err := r.next(']')
	if !ended {
		*r = here // open reads the comma
	}
	return !ended, err
}

// end is for after the last value: there must be nothing more.
func (r *reader) end() error {
	if space(r.src, r.at) < len(r.src) {
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

// parserTooDeep is what jsontext says at maxNesting levels, where it gives up; it has no name for it.
const parserTooDeep = "exceeded max depth"

// notJSON says what is wrong with src and where, which the scanner does not know: jsontext goes over it once more.
func (r *reader) notJSON() error {
	err := jsontext.NewDecoder(bytes.NewBuffer(r.src), jsontext.AllowDuplicateNames(true)).SkipValue()
	if err == nil {
		err = errors.New("its parsers do not agree")
	}
	return notJSON(err)
}

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
