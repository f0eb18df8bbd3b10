package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// CheckState reports as a *[Poison] why state cannot be a step's state, or nil: it must be one JSON value in valid UTF-8 (half a
// surrogate pair in an escape is not), at most maxDepth deep and shorter than [MaxBody].
func CheckState(state []byte, maxDepth int) error {
	if len(state) > MaxBody {
		return poisonf(CodeSize, "state has %d bytes, more than %d", len(state), MaxBody)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(state), readerOptions)
	if err := dec.SkipValue(); err != nil {
		return fmt.Errorf("check state: %w", notJSON(err))
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return poison(CodeNotJSON, "state has something after its JSON value")
	}
	if d := Depth(state); d > maxDepth {
		return poisonf(CodeDepth, "state is nested %d deep, more than %d", d, maxDepth)
	}
	return nil
}

// AppendStep appends to dst the body of an event that saves one step. The ids must have passed [CheckID] and [CheckNodeID], and
// state [CheckState].
func AppendStep(dst []byte, runID string, step int32, nodeID string, state []byte) []byte {
	dst = append(dst, `{"run_id":`...)
	dst = appendString(dst, runID)
	dst = append(dst, `,"step":`...)
	dst = strconv.AppendInt(dst, int64(step), 10)
	dst = append(dst, `,"node_id":`...)
	dst = appendString(dst, nodeID)
	dst = append(dst, `,"state":`...)
	dst = append(dst, state...)
	return append(dst, '}')
}

func appendString(dst []byte, s string) []byte {
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		panic(fmt.Sprintf("assertion: quote checked id: %v", err))
	}
	return out
}
