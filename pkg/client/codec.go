package client

import (
	"encoding/json"
	"fmt"
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
// the columns are. Its methods may be called concurrently. They must also take json.RawMessage, which is what [Store.CopyRun] copies by.
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
