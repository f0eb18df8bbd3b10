package client

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// messages are what w is published as: one message, or, when it does not fit, its parts as one atomic batch. Each op is whole in a message. The
// last one says whether somebody waits for the commit.
func (e *engine) messages(w *write) ([]*nats.Msg, error) {
	msgs, err := e.pack(w)
	if err == nil && w.awaited() {
		msgs[len(msgs)-1].Header[wire.HeaderUrgent] = urgent
	}
	return msgs, err
}

func (e *engine) pack(w *write) ([]*nats.Msg, error) {
	reserve := e.laterHeader(w)
	if len(w.ops) == 1 {
		msg, err := e.message(w.kind, w.id, w.body(w.ops), reserve)
		return []*nats.Msg{msg}, err
	}
	sizes, total := make([]int, len(w.ops)), len(w.body(nil))
	for i := range w.ops {
		sizes[i] = wire.OpSize(&w.ops[i])
		total += sizes[i]
	}
	if total <= wire.MaxBody {
		if msg, err := e.message(w.kind, w.id, w.body(w.ops), reserve); err == nil {
			return []*nats.Msg{msg}, nil
		} // it does not fit; there is no other reason
	}
	return e.parts(w, sizes, reserve)
}

// body is the JSON of some of w's ops.
func (w *write) body(ops []wire.Op) []byte {
	var hash *[32]byte
	if len(w.keys()) > 0 {
		hash = &w.hash
	}
	size := 256 + len(w.id) // of the event's own members, and of all that escapes need
	for i := range ops {
		size += 128 + len(ops[i].ID) + len(ops[i].NodeID) + len(ops[i].State)
	}
	return wire.AppendEvent(make([]byte, 0, size), w.kind, w.id, w.attempt, hash, ops)
}

// parts splits w into messages that all fit, whatever compression saves: with less of that than today, the same write still is a batch.
func (e *engine) parts(w *write, sizes []int, reserve nats.Header) ([]*nats.Msg, error) {
	transaction := e.nextID()
	if reserve == nil {
		reserve = nats.Header{}
	}
	maps.Copy(reserve, partHeader(transaction, wire.MaxParts, wire.MaxParts, math.MaxInt))
	envelope, limit := len(w.body(nil)), e.partLimit(reserve)
	var (
		msgs  []*nats.Msg
		total int
	)
	for from, to := 0, 0; from < len(w.ops); from = to {
		size := envelope
		for to < len(w.ops) && (to == from || size+sizes[to] <= limit) {
			size += sizes[to]
			to++
		}
		if total += size + len(w.id)*(to-from); total > wire.MaxTransaction {
			return nil, &fault{kind: ErrTooLarge, err: fmt.Errorf("write has more than %d bytes", wire.MaxTransaction), hint: "split it"}
		}
		msg, err := e.message(w.kind, w.id, w.body(w.ops[from:to]), reserve)
		if err != nil {
			return nil, ofOp(&w.ops[from], err)
		}
		if msgs = append(msgs, msg); len(msgs) > wire.MaxParts {
			return nil, &fault{kind: ErrTooLarge, err: fmt.Errorf("write needs more than %d messages", wire.MaxParts), hint: "split it, or " + hintSize}
		}
	}
	for i, msg := range msgs {
		maps.Copy(msg.Header, partHeader(transaction, i+1, len(msgs), 0))
	}
	return msgs, nil
}

// partLimit is how large a part's body may be, uncompressed: what surely fits a message.
func (e *engine) partLimit(reserve nats.Header) int {
	limit := e.maxPayload()
	if limit == 0 { // there was no connection yet
		return wire.MaxBody
	}
	header := nats.Header{wire.HeaderMsgID: {e.idPrefix + strconv.FormatUint(math.MaxUint64, 36)}}
	return min(limit-headerSize(header)-headerLines(reserve), wire.MaxBody)
}

// partHeader is the header of a part: which part of the transaction it is, and of the batch of the number-th attempt.
func partHeader(transaction string, no, of, number int) nats.Header {
	h := nats.Header{
		wire.HeaderPart: {wire.Part{Transaction: transaction, No: no, Of: of}.String()},
		headerBatch:     {batchID(transaction, number)},
		headerBatchNo:   {strconv.Itoa(no)},
	}
	if no == of {
		h[headerBatchCommit] = []string{"1"}
	}
	return h
}

func batchID(transaction string, number int) string { return transaction + "." + strconv.Itoa(number) }

// ofOp makes a fault name the op that it is about.
func ofOp(op *wire.Op, err error) error {
	var f *fault
	if !errors.As(err, &f) {
		return err
	}
	named := *f
	switch op.Type {
	case wire.OpCheckpoint, wire.OpOutbox:
		named.err = fmt.Errorf("%s %.300q: %w", op.Type, op.ID, f.err)
	default:
		named.err = fmt.Errorf("%s %d: %w", op.Type, op.Step, f.err)
	}
	return &named
}
