package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// The kinds of what a [Codec] encodes.
const (
	KindStep         = "step"          // the state of a step
	KindCheckpoint   = "checkpoint"    // the state of a named checkpoint
	KindCheckpointV2 = "checkpoint_v2" // the state of a V2 checkpoint
	KindFrontier     = "frontier"      // its frontier
	KindRecordedIOs  = "recorded_ios"  // its recorded I/O
)

// Binding is where a value belongs. What was encoded for one place must not be taken for that of another; a codec that authenticates
// binds it.
type Binding struct {
	// Kind is one of the Kind constants.
	Kind string
	// ID is the run's, or the named checkpoint's.
	ID string
	// Step is the step, or the step id; it is 0 of a named checkpoint, whose step says nothing of where it is found.
	Step int
}

// Codec turns states, frontiers and recorded I/O into what is stored and back; set it with [WithCodec]. What is stored is valid JSON, for
// the columns are. Its methods may be called concurrently. They must also take json.RawMessage, by which frontiers and recorded I/O are loaded and [Store.CopyRun] copies.
type Codec interface {
	// Encode returns v as one JSON value. An error is an [ErrInvalidState] of the call.
	Encode(b Binding, v any) ([]byte, error)
	// Decode decodes what Encode made for b into v, a pointer. data may have other blanks and another order of members than Encode gave
	// it: MySQL normalises JSON.
	Decode(b Binding, data []byte, v any) error
}

// Fingerprinter is a [Codec] whose encodings of equal values differ. Fingerprint returns a JSON value that is the same for equal values: by
// it [Store.SaveCheckpointV2] tells whether a key is used again with the same content.
type Fingerprinter interface {
	Codec
	Fingerprint(b Binding, v any) ([]byte, error)
}

// JSON is the default codec: encoding/json.
type JSON struct{}

var _ Codec = JSON{}

// Encode implements [Codec].
func (JSON) Encode(_ Binding, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("marshal %T: %w", v, err)
	}
	return b, nil
}

// Decode implements [Codec].
func (JSON) Decode(_ Binding, data []byte, v any) error {
	return json.Unmarshal(data, v) //nolint:wrapcheck // the store says what was decoded.
}

// decodeAny decodes a value of no given type. LangGraph-Go's frontiers have 64-bit order keys: an integer that float64 would round stays as it is.
func decodeAny(codec Codec, b Binding, data []byte) (any, error) {
	raw, err := decode[json.RawMessage](codec, b, data)
	if err != nil {
		return nil, err
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, &fault{kind: ErrInvalidState, err: fmt.Errorf("unmarshal %s %d: %w", b.Kind, b.Step, err)}
	}
	return withFloats(v), nil
}

// maxExact is up to where float64 has all integers.
const maxExact = 1 << 53

// withFloats makes numbers float64 where that is what they are.
func withFloats(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withFloats(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withFloats(v[k])
		}
	case json.Number:
		if i, err := v.Int64(); err == nil && -maxExact <= i && i <= maxExact {
			return float64(i)
		}
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return f
		}
	}
	return v
}
