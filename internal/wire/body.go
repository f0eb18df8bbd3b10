package wire

import (
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// body is what the JSON of an event says.
type body struct {
	id      string // run_id, or the checkpoint_id outside of ops
	hasID   bool
	attempt uint32
	hash    [32]byte
	hasHash bool
	ops     []Op
}

// envelope are the members that an event may have whatever it holds. The others are those of a single op.
func (b *body) envelope(name string, value []byte) (known bool, err error) {
	switch name {
	case "run_id":
		b.hasID = true
		return true, text(name, value, &b.id)
	case "attempt":
		n, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil || n == 0 || n > math.MaxInt32 {
			return true, poisonf(CodeBody, "attempt %.40s is not a whole number from 1 to %d", value, math.MaxInt32)
		}
		b.attempt = uint32(n)
		return true, nil
	case "content_hash":
		var digits string
		if err := text(name, value, &digits); err != nil {
			return true, err
		}
		sum, err := hex.DecodeString(digits)
		if err != nil || len(sum) != len(b.hash) {
			return true, poisonf(CodeBody, "content_hash is not %d hex digits", 2*len(b.hash))
		}
		b.hash, b.hasHash = [32]byte(sum), true
		return true, nil
	}
	return false, nil
}

// decodeBody reads the body of an event that was published under a key of kind.
func decodeBody(kind string, src []byte) (body, error) {
	r := acquireReader(src)
	defer r.free()

	var (
		b    body
		op   opFields
		list []byte
		seen members
	)
	err := r.object(func(name string, value []byte) error {
		if !seen.add(name) {
			return poisonf(CodeBody, "member %q is there twice", name)
		}
		if name == "ops" {
			if len(value) == 0 || value[0] != '[' {
				return poison(CodeBody, "ops is not an array")
			}
			list = value
			return nil
		}
		if known, err := b.envelope(name, value); known {
			return err
		}
		return op.set(name, value)
	})
	if err != nil {
		return b, err
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return b, poison(CodeNotJSON, "body has something after its JSON object")
	}
	switch {
	case kind == KindAttempt:
		return b, b.begin(list, &op)
	case list == nil:
		return b, b.single(kind, &op)
	case kind == KindCheckpoint && op.seen == 1<<memberCheckpointID: // says which one the subject names
		if err := b.checkpoint(&op); err != nil {
			return b, err
		}
	case op.seen != 0:
		return b, poison(CodeBody, "body has both ops and the members of a single op: use one form")
	}
	b.ops, err = decodeOps(kind, list)
	return b, err
}

// begin is the body that begins an attempt: it has a number and nothing else.
func (b *body) begin(list []byte, op *opFields) error {
	if list != nil || op.seen != 0 || b.hasHash {
		return poison(CodeBody, "the beginning of an attempt has run_id and attempt, and nothing else")
	}
	if b.attempt == 0 {
		return poison(CodeBody, "member attempt is missing")
	}
	b.ops = []Op{{Type: OpAttempt}}
	return nil
}

// single is the body that is one op of the key in the subject.
func (b *body) single(kind string, op *opFields) error {
	t := OpStep
	if kind == KindCheckpoint {
		if t = OpCheckpoint; op.has(memberCheckpointID) {
			if err := b.checkpoint(op); err != nil {
				return err
			}
		}
		op.seen |= 1 << memberCheckpointID // the subject names it
	}
	made, err := op.op(t)
	if err != nil {
		return err
	}
	b.ops = []Op{made}
	return b.fits(kind, 0, t)
}

// checkpoint takes the id of the checkpoint that the subject names.
func (b *body) checkpoint(op *opFields) error {
	b.hasID = true
	return text("checkpoint_id", op.raw[memberCheckpointID], &b.id)
}

// fits refuses an op that a key of kind cannot have.
func (b *body) fits(kind string, i int, t OpType) error {
	if kind == KindCheckpoint && (t != OpCheckpoint || b.attempt != 0) {
		return poisonf(CodeBody, "op %d is a %s: only checkpoints, of no attempt, are written under a checkpoint's subject", i, t)
	}
	return nil
}

func decodeOps(kind string, list []byte) ([]Op, error) {
	r := acquireReader(list)
	defer r.free()
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, notJSON(err)
	}
	var ops []Op
	for r.dec.PeekKind() != ']' {
		if len(ops) == MaxOps {
			return nil, poisonf(CodeBody, "ops holds more than %d ops", MaxOps)
		}
		var (
			op   opFields
			name string
			seen members
		)
		err := r.object(func(member string, value []byte) error {
			if !seen.add(member) {
				return poisonf(CodeBody, "member %q of op %d is there twice", member, len(ops))
			}
			if member == "op" {
				return text(member, value, &name)
			}
			return op.set(member, value)
		})
		if err != nil {
			return nil, err
		}
		t, ok := opTypes[name]
		if !ok {
			return nil, poisonf(CodeOp, "op %d is a %.40q, which this version does not know", len(ops), name)
		}
		made, err := op.op(t)
		if err != nil {
			return nil, err
		}
		if err := (&body{}).fits(kind, len(ops), t); err != nil {
			return nil, err
		}
		ops = append(ops, made)
	}
	if len(ops) == 0 {
		return nil, poison(CodeBody, "ops is empty: an event has at least one op")
	}
	return ops, nil
}

// opTypes are the ops that an event's list may hold, by name.
var opTypes = map[string]OpType{
	"step": OpStep, "checkpoint": OpCheckpoint, "checkpoint_v2": OpCheckpointV2, "event": OpOutbox, "delete_run": OpDeleteRun,
}

func integer(value []byte) (int32, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
		return 0, poisonf(CodeStep, "step %.40s is not a whole number from %d to %d", value, math.MinInt32, math.MaxInt32)
	}
	return int32(n), nil
}

func text(name string, value []byte, to *string) error {
	if len(value) == 0 || value[0] != '"' {
		return poisonf(CodeBody, "member %s is not a string", name)
	}
	b, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return poisonf(CodeBody, "member %s: %v", name, err)
	}
	*to = string(b)
	return nil
}

func instant(name string, value []byte, to *time.Time) error {
	var s string
	if err := text(name, value, &s); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return poisonf(CodeBody, "member %s %.60q is not a time as RFC 3339 has it", name, s)
	}
	if y := t.UTC().Year(); y < 1 || y > 9999 {
		return poisonf(CodeBody, "member %s %.60q is not in the years 1 to 9999", name, s)
	}
	*to = t.UTC().Truncate(time.Microsecond)
	return nil
}
