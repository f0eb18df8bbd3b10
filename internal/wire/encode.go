package wire

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// CheckState reports as a *[Poison] why state cannot be a step's state, or nil: it must be one JSON value in valid UTF-8 (half a
// surrogate pair in an escape is not), at most maxDepth deep and shorter than [MaxBody].
func CheckState(state []byte, maxDepth int) error {
	if len(state) > MaxBody {
		return poisonf(CodeSize, "state has %d bytes, more than %d", len(state), MaxBody)
	}
	r := newReader(state)
	if _, err := r.value(); err != nil {
		return fmt.Errorf("check state: %w", err)
	}
	if r.end() != nil {
		return poison(CodeNotJSON, "state has something after its JSON value")
	}
	if d := Depth(state); d > maxDepth {
		return poisonf(CodeDepth, "state is nested %d deep, more than %d", d, maxDepth)
	}
	return nil
}

// AppendEvent appends to dst the body of an event of kind, under the key id (a run's, or a checkpoint's). What it holds must have passed the
// checks of this package ([CheckID], [CheckState] …). attempt and hash are of a run's events; hash is written when it is not nil.
func AppendEvent(dst []byte, kind, id string, attempt uint32, hash *[32]byte, ops []Op) []byte {
	if kind == KindCheckpoint {
		return appendCheckpoints(dst, id, ops)
	}
	dst = append(dst, `{"run_id":`...)
	dst = appendString(dst, id)
	if attempt > 0 {
		dst = append(dst, `,"attempt":`...)
		dst = strconv.AppendUint(dst, uint64(attempt), 10)
	}
	if hash != nil {
		dst = append(dst, `,"content_hash":"`...)
		dst = hex.AppendEncode(dst, hash[:])
		dst = append(dst, '"')
	}
	switch {
	case kind == KindAttempt:
	case len(ops) == 1 && ops[0].Type == OpStep:
		dst = append(dst, ',')
		dst = appendMembers(dst, &ops[0])
	default:
		dst = append(dst, `,"ops":`...)
		dst = appendOps(dst, ops)
	}
	return append(dst, '}')
}

// appendCheckpoints names the checkpoint of the subject, which a hashed token does not, and which a part may not write.
func appendCheckpoints(dst []byte, id string, ops []Op) []byte {
	if len(ops) == 1 && ops[0].ID == id {
		dst = append(dst, '{')
		dst = appendMembers(dst, &ops[0])
		return append(dst, '}')
	}
	dst = append(dst, `{"checkpoint_id":`...)
	dst = appendString(dst, id)
	dst = append(dst, `,"ops":`...)
	dst = appendOps(dst, ops)
	return append(dst, '}')
}

// OpSize is how many bytes op takes in the list of a body with several, the comma after it included.
func OpSize(op *Op) int { return len(appendOps(nil, []Op{*op})) - len("[]") + len(",") }

func appendOps(dst []byte, ops []Op) []byte {
	dst = append(dst, '[')
	for i := range ops {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"op":"`...)
		dst = append(dst, ops[i].Type.String()...)
		dst = append(dst, '"')
		if ops[i].Type != OpDeleteRun {
			dst = append(dst, ',')
			dst = appendMembers(dst, &ops[i])
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendMembers(dst []byte, op *Op) []byte {
	switch op.Type {
	case OpStep:
		dst = append(dst, `"step":`...)
		dst = strconv.AppendInt(dst, int64(op.Step), 10)
		dst = append(dst, `,"node_id":`...)
		dst = appendString(dst, op.NodeID)
	case OpCheckpoint:
		dst = append(dst, `"checkpoint_id":`...)
		dst = appendString(dst, op.ID)
		dst = append(dst, `,"step":`...)
		dst = strconv.AppendInt(dst, int64(op.Step), 10)
	case OpCheckpointV2:
		dst = append(dst, `"step_id":`...)
		dst = strconv.AppendInt(dst, int64(op.Step), 10)
		dst = appendV2(dst, op.V2)
	case OpOutbox:
		dst = append(dst, `"event_id":`...)
		dst = appendString(dst, op.ID)
		dst = append(dst, `,"data":`...)
		return append(dst, op.State...)
	default:
		panic(fmt.Sprintf("assertion: a %s has no members", op.Type))
	}
	dst = append(dst, `,"state":`...)
	return append(dst, op.State...)
}

func appendV2(dst []byte, v2 *V2) []byte {
	if v2.Frontier != nil {
		dst = append(dst, `,"frontier":`...)
		dst = append(dst, v2.Frontier...)
	}
	if v2.RecordedIOs != nil {
		dst = append(dst, `,"recorded_ios":`...)
		dst = append(dst, v2.RecordedIOs...)
	}
	dst = append(dst, `,"rng_seed":`...)
	dst = strconv.AppendInt(dst, v2.RNGSeed, 10)
	if !v2.Timestamp.IsZero() {
		dst = append(dst, `,"timestamp":"`...)
		dst = v2.Timestamp.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
	}
	if v2.Label != "" {
		dst = append(dst, `,"label":`...)
		dst = appendString(dst, v2.Label)
	}
	if v2.Key != "" {
		dst = append(dst, `,"idempotency_key":`...)
		dst = appendString(dst, v2.Key)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	out, err := jsontext.AppendQuote(dst, s)
	if err != nil {
		panic(fmt.Sprintf("assertion: quote checked id: %v", err))
	}
	return out
}
