package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// saveStep checks, publishes and waits, as long as the durability asks.
func (e *engine) saveStep(ctx context.Context, runID string, step int, nodeID string, state []byte) error {
	durability := e.cfg.durability
	if d, ok := ctx.Value(durabilityKey{}).(Durability); ok {
		durability = d
	}
	if !durability.valid() {
		return &fault{kind: ErrInvalidOption, err: fmt.Errorf("durability of the call is %s, not Async, Logged or Committed", durability)}
	}
	if e.isClosing() {
		return ErrClosed
	}
	body, err := e.stepBody(runID, step, nodeID, state)
	if err != nil {
		return err
	}
	msg, err := e.message(runID, body)
	if err != nil {
		return err
	}
	ctx, cancel := e.withDeadline(ctx)
	defer cancel()
	pub := &publication{msg: msg, runID: runID, step: step, async: durability == Async}
	if err := e.publisher.submit(ctx, pub); err != nil || durability == Async {
		return err
	}
	ack, err := e.publisher.wait(ctx, pub)
	if err != nil || durability == Logged {
		return err
	}
	return e.waitCommitted(ctx, runID, ack)
}

// stepBody is the event's body. The error says what about the step can never be stored.
func (e *engine) stepBody(runID string, step int, nodeID string, state []byte) ([]byte, error) {
	if err := wire.CheckID(runID); err != nil {
		return nil, &fault{kind: ErrInvalidID, err: fmt.Errorf("run %w", err)}
	}
	if err := wire.CheckNodeID(nodeID); err != nil {
		return nil, &fault{kind: ErrInvalidID, err: err}
	}
	if step < math.MinInt32 || step > math.MaxInt32 {
		return nil, &fault{kind: ErrInvalidStep, err: fmt.Errorf("%d is not from %d to %d", step, math.MinInt32, math.MaxInt32)}
	}
	if err := wire.CheckState(state, e.cfg.maxDepth); err != nil {
		return nil, stateFault(err)
	}
	body := wire.AppendStep(make([]byte, 0, len(state)+len(runID)+len(nodeID)+64), runID, int32(step), nodeID, state)
	if len(body) > wire.MaxBody {
		return nil, tooLarge(len(body), wire.MaxBody, "before compression", hintMaxBody)
	}
	return body, nil
}

const hintMaxBody = "keep large data elsewhere and its reference in the state"

func stateFault(err error) error {
	var poison *wire.Poison
	if !errors.As(err, &poison) {
		return &fault{kind: ErrInvalidState, err: err}
	}
	switch poison.Code {
	case wire.CodeSize:
		return &fault{kind: ErrTooLarge, err: poison, hint: hintMaxBody}
	case wire.CodeDepth:
		return &fault{kind: ErrInvalidState, err: poison, hint: "flatten it; MySQL takes a depth of 100, see WithMaxDepth, MariaDB does not"}
	default:
		return &fault{kind: ErrInvalidState, err: poison}
	}
}

func tooLarge(size, limit int, what, hint string) error {
	return &fault{kind: ErrTooLarge, err: fmt.Errorf("message has %d bytes %s, more than %d", size, what, limit), hint: hint}
}

// message makes the message to be published, with an id of its own. The error says by how much it is over the server's limit.
func (e *engine) message(runID string, body []byte) (*nats.Msg, error) {
	header := nats.Header{wire.HeaderMsgID: {e.idPrefix + strconv.FormatUint(e.lastID.Add(1), 36)}}
	what, hint := "uncompressed", "set WithCompression, or "+hintSize
	if from := e.cfg.compressFrom; from > 0 {
		what, hint = "after compression", hintSize
		if len(body) >= from {
			if packed := wire.Compress(body); len(packed) < len(body) {
				body = packed
				header[wire.HeaderEncoding] = []string{wire.EncodingZstd}
			}
		}
	}
	// 0 is when there was no connection yet.
	if limit, size := int(e.nc.MaxPayload()), headerSize(header)+len(body); limit > 0 && size > limit {
		return nil, tooLarge(size, limit, what, hint)
	}
	return &nats.Msg{Subject: e.subjects.Write(e.cfg.namespace, wire.KindRun, runID), Header: header, Data: body}, nil
}

// headerSize is what h adds to a message, which the server counts as payload.
func headerSize(h nats.Header) int {
	n := len("NATS/1.0\r\n") + len("\r\n")
	for k, values := range h {
		for _, v := range values {
			n += len(k) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
