package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// apply publishes w and waits, as long as its durability asks.
func (e *engine) apply(ctx context.Context, w *write) error {
	if e.isClosing() {
		return ErrClosed
	}
	body := wire.AppendEvent(make([]byte, 0, 256), w.kind, w.id, w.attempt, nil, w.ops)
	if len(body) > wire.MaxBody {
		return tooLarge(len(body), wire.MaxBody, "before compression", hintMaxBody)
	}
	msg, err := e.message(w.kind, w.id, body)
	if err != nil {
		return err
	}
	pub := &publication{msg: msg, runID: w.id, step: w.step, async: w.durability == Async}
	if err := e.publisher.submit(ctx, pub); err != nil || w.durability == Async {
		return err
	}
	ack, err := e.publisher.wait(ctx, pub)
	if err != nil || w.durability == Logged && !w.told() {
		return err
	}
	return e.waitCommitted(ctx, w.id, ack)
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
func (e *engine) message(kind, id string, body []byte) (*nats.Msg, error) {
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
	return &nats.Msg{Subject: e.subjects.Write(e.cfg.namespace, kind, id), Header: header, Data: body}, nil
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
