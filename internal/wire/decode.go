package wire

import (
	"errors"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Headers of a message.
const (
	// HeaderEncoding names the body's compression: "zstd", or absent for none.
	HeaderEncoding = "Content-Encoding"
	// HeaderMsgID is the server's deduplication id: one per call of a client, the same for its retries.
	HeaderMsgID = "Nats-Msg-Id"
	// EncodingZstd is the only value of HeaderEncoding.
	EncodingZstd = "zstd"
)

// Decode understands m. It never fails: what can never be applied is an Event with its Poison set, and still carries what
// was understood of it (partition, namespace) and the message itself.
func (s Subjects) Decode(m Message) Event {
	ev := Event{Message: m, Size: len(m.Body)}
	if err := s.decode(&ev); err != nil {
		ev.Ops = nil
		if !errors.As(err, &ev.Poison) {
			ev.Poison = poison(CodeBody, err.Error())
		}
	}
	return ev
}

func (s Subjects) decode(ev *Event) error {
	addr, err := s.ParseLog(ev.Message.Subject)
	if err != nil {
		return err
	}
	ev.Partition, ev.Namespace = addr.Partition, addr.Namespace
	if addr.Kind != KindRun {
		return poisonf(CodeSubject, "subject %q names the kind %q, which this version does not know", ev.Message.Subject, addr.Kind)
	}
	body, err := plainBody(ev.Message)
	if err != nil {
		return err
	}
	ev.Size = len(body)
	b, err := decodeBody(body)
	if err != nil {
		return err
	}
	if ev.RunID, err = subjectID(addr.Token, b.runID, b.hasRunID); err != nil {
		return err
	}
	ev.Ops = b.ops
	ev.Size += len(ev.RunID) * len(b.ops)
	return nil
}

// subjectID is the id that an event is about: the body's, which must be the one of the subject's token, or the token's.
func subjectID(token, id string, inBody bool) (string, error) {
	if !inBody {
		var err error
		if id, err = DecodeToken(token); err != nil {
			return "", err
		}
	}
	if err := CheckID(id); err != nil {
		return "", err
	}
	if want := Token(id); want != token {
		return "", poisonf(CodeID, "run_id %.300q belongs under the token %q, not %q", id, want, token)
	}
	return id, nil
}

func plainBody(m Message) ([]byte, error) {
	switch enc := m.Header.Get(HeaderEncoding); enc {
	case "":
		if len(m.Body) > MaxBody {
			return nil, poisonf(CodeSize, "body has %d bytes, more than %d", len(m.Body), MaxBody)
		}
		return m.Body, nil
	case EncodingZstd:
		return Decompress(m.Body)
	default:
		return nil, poisonf(CodeEncoding, "content encoding %q is unknown: use zstd or none", enc)
	}
}

// body is what the JSON of an event says.
type body struct {
	runID    string
	hasRunID bool
	ops      []Op
}

func decodeBody(src []byte) (body, error) {
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
		switch name {
		case "run_id":
			b.hasRunID = true
			return text(name, value, &b.runID)
		case "ops":
			if len(value) == 0 || value[0] != '[' {
				return poison(CodeBody, "ops is not an array")
			}
			list = value
			return nil
		default:
			return op.set(name, value)
		}
	})
	if err != nil {
		return b, err
	}
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return b, poison(CodeNotJSON, "body has something after its JSON object")
	}
	switch {
	case list == nil:
		step, err := op.step()
		b.ops = []Op{step}
		return b, err
	case op.any:
		return b, poison(CodeBody, "body has both ops and the members of a single step: use one form")
	}
	b.ops, err = decodeOps(list)
	return b, err
}

func decodeOps(list []byte) ([]Op, error) {
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
			kind string
			seen members
		)
		err := r.object(func(name string, value []byte) error {
			if !seen.add(name) {
				return poisonf(CodeBody, "member %q of op %d is there twice", name, len(ops))
			}
			if name == "op" {
				return text(name, value, &kind)
			}
			return op.set(name, value)
		})
		if err != nil {
			return nil, err
		}
		if kind != "step" {
			return nil, poisonf(CodeOp, "op %d is a %.40q, which this version does not know", len(ops), kind)
		}
		step, err := op.step()
		if err != nil {
			return nil, err
		}
		ops = append(ops, step)
	}
	if len(ops) == 0 {
		return nil, poison(CodeBody, "ops is empty: an event has at least one op")
	}
	return ops, nil
}

// opFields are the members of a step as they come.
type opFields struct {
	any                        bool
	number                     int32
	hasStep, hasNode, hasState bool
	nodeID                     string
	state                      []byte
}

func (o *opFields) set(name string, value []byte) (err error) {
	o.any = true
	switch name {
	case "step":
		o.hasStep = true
		o.number, err = integer(value)
		return err
	case "node_id":
		o.hasNode = true
		if err := text(name, value, &o.nodeID); err != nil {
			return err
		}
		return CheckNodeID(o.nodeID)
	case "state":
		o.hasState = true
		o.state = value
		if d := Depth(value); d > MaxDepth {
			return poisonf(CodeDepth, "state is nested %d deep, more than %d", d, MaxDepth)
		}
		return nil
	default:
		return poisonf(CodeBody, "member %.40q is unknown to this version", name)
	}
}

func (o *opFields) step() (Op, error) {
	switch {
	case !o.hasStep:
		return Op{}, poison(CodeBody, "member step is missing")
	case !o.hasNode:
		return Op{}, poison(CodeBody, "member node_id is missing")
	case !o.hasState:
		return Op{}, poison(CodeBody, "member state is missing")
	}
	return Op{Type: OpStep, Step: o.number, NodeID: o.nodeID, State: o.state}, nil
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
