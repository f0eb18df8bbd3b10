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

// apply publishes w and waits, as long as its durability asks, or until it is told what became of w:
//
//	make the messages: one, or the parts of a batch → what is queued of checkpoints that it replaces → the fence of its attempt
//	publish, behind the run's earlier writes → async: return
//	wait until the log has it → logged, and nothing to be told: return
//	wait until it is committed, or decided otherwise
func (e *engine) apply(ctx context.Context, w *write) error {
	if e.isClosing() {
		return ErrClosed
	}
	msgs, err := e.messages(w)
	if err != nil {
		return err
	}
	if err := e.replaced(ctx, w); err != nil {
		return err
	}
	pub := &publication{msgs: msgs, runID: w.id, link: linkOf(w, msgs), async: w.durability == Async && !w.told(), explain: w.explain}
	if pub.fence, err = e.fenceOf(ctx, w); err != nil {
		return err
	}
	if pub.fence.subject != "" {
		pub.refence = func(ctx context.Context, refused fence) (fence, error) {
			return e.refence(ctx, w.id, w.attempt, refused)
		}
	}
	async := pub.async
	if err := e.publisher.submit(ctx, pub); err != nil || async {
		return err
	}
	ack, err := e.publisher.wait(ctx, pub)
	if err != nil || !w.awaited() {
		return err
	}
	return e.waitCommitted(ctx, w, ack)
}

// replaced waits until what this client has queued of w's named checkpoints is over: under subjects of their own they would not stay in
// front of w, and the later of the two in the log stands.
func (e *engine) replaced(ctx context.Context, w *write) error {
	for i := range w.ops {
		op := &w.ops[i]
		if op.Type != wire.OpCheckpoint || w.kind == wire.KindCheckpoint && op.ID == w.id {
			continue
		}
		if err := e.ownWrites(ctx, wire.KindCheckpoint, op.ID); err != nil {
			return err
		}
	}
	return nil
}

// explain is the error of an async write, which says what the write was.
func (w *write) explain(err error) error {
	switch {
	case len(w.ops) == 1 && w.kind == wire.KindCheckpoint:
		return newCheckpointError(opSaveCheckpoint, w.id, err)
	case len(w.ops) == 1 && w.ops[0].Type == wire.OpStep:
		return newError(opSaveStep, w.id, w.step, err)
	case w.kind == wire.KindCheckpoint:
		return newError(opTransaction, "", 0, err)
	default:
		return newError(opTransaction, w.id, 0, err)
	}
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

// message makes the message to be published, with an id of its own. reserve are the headers that it is given later, at their longest; nil for
// none. The error says by how much it is over the server's limit.
func (e *engine) message(kind, id string, body []byte, reserve nats.Header) (*nats.Msg, error) {
	if len(body) > wire.MaxBody {
		return nil, tooLarge(len(body), wire.MaxBody, "before compression", hintMaxBody)
	}
	header := nats.Header{wire.HeaderMsgID: {e.nextID()}}
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
	if limit, size := e.maxPayload(), headerSize(header)+headerLines(reserve)+len(body); limit > 0 && size > limit {
		return nil, tooLarge(size, limit, what, hint)
	}
	return &nats.Msg{Subject: e.subjects.Write(e.cfg.namespace, kind, id), Header: header, Data: body}, nil
}

// maxPayload is how large a message may be, 0 when there was no connection yet.
func (e *engine) maxPayload() int { return int(e.publisher.maxPayload.Load()) }

// nextID is the id of the next message.
func (e *engine) nextID() string {
	var id [64]byte
	return string(strconv.AppendUint(append(id[:0], e.idPrefix...), e.lastID.Add(1), 36))
}

// urgent is the value of that header. Nobody writes to it.
var urgent = []string{"1"}

// laterHeader is what w's messages are given later, at its longest: that of its fence, and that somebody waits; nil for none.
func (e *engine) laterHeader(w *write) nats.Header {
	if w.attempt == 0 && !w.awaited() {
		return nil
	}
	h := nats.Header{}
	if w.attempt > 0 {
		fence{e.subjects.Log(maxPartition, e.cfg.namespace, wire.KindAttempt, w.id), math.MaxUint64}.guard(h)
	}
	if w.awaited() {
		h[wire.HeaderUrgent] = urgent
	}
	return h
}

// maxPartition is the highest number that a partition can have.
const maxPartition = 255

// headerSize is what h adds to a message, which the server counts as payload.
func headerSize(h nats.Header) int { return len("NATS/1.0\r\n") + headerLines(h) + len("\r\n") }

func headerLines(h nats.Header) int {
	n := 0
	for k, values := range h {
		for _, v := range values {
			n += len(k) + len(": ") + len(v) + len("\r\n")
		}
	}
	return n
}
