package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pubAck is JetStream's answer to a publish.
type pubAck struct {
	Stream string `json:"stream"`
	// Sequence is the message's; of a batch, that of its last message.
	Sequence uint64 `json:"seq"`
	// Duplicate says that the log had the message's id already, at Sequence.
	Duplicate bool `json:"duplicate"`
	// Count is how many messages the batch had that was stored, 0 when it was a single message.
	Count int                 `json:"count"`
	Error *jetstream.APIError `json:"error"`
}

// The server's error codes for a publish that are told apart; all others go by their class.
const (
	codeAccountFull     = 10002
	codeInsufficient    = 10023
	codeMemoryFull      = 10028
	codeStorageFull     = 10047
	codeTooLarge        = 10054
	codeStreamMismatch  = 10060
	codeStoreFailed     = 10077
	codeHeaderTooLarge  = 10097
	codeTooManyRequests = 10167

	// Of a fence: the log holds another last message of the subject, or one that concerns it is in process.
	codeFenced      = 10071
	codeFenceMoving = 10164

	// Of an atomic batch.
	codeBatchesOff    = 10174
	codeBatchGap      = 10176
	codeBatchTooLong  = 10199
	codeBatchRepeated = 10201 // the log knows the id of one of its messages, and so holds all of them
	codeBatchesBusy   = 10210

	// codeNotRepeated is what an attempt that only asks is refused with when the log does not know its id; see [question].
	codeNotRepeated = 10111
)

const (
	hintFull    = "persistd trims the log as MySQL takes its steps: see whether it is running and MySQL is up; else raise the stream's max_bytes"
	hintSize    = "keep large data elsewhere and its reference in the state, or raise max_payload in the NATS server's configuration"
	hintBatches = "a write larger than a message needs a stream with allow_atomic, which persistd sets when it starts"
	hintConn    = "is the NATS server running and reachable from here?"
)

func isNoResponders(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }

// plainAck reads the answer that nearly all have, {"stream":"NAME","seq":17}, in which nothing is escaped; ok is false of any other.
func plainAck(data []byte) (ack pubAck, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	end := bytes.IndexByte(rest, '"')
	if !ok || end <= 0 || bytes.IndexByte(rest[:end], '\\') >= 0 {
		return pubAck{}, false
	}
	number, ok := bytes.CutPrefix(rest[end:], []byte(`","seq":`))
	number, closed := bytes.CutSuffix(number, []byte("}"))
	if !ok || !closed || len(number) > 19 { // more may be over 64 bits
		return pubAck{}, false
	}
	for _, digit := range number {
		if digit < '0' || digit > '9' {
			return pubAck{}, false
		}
		ack.Sequence = ack.Sequence*10 + uint64(digit-'0')
	}
	ack.Stream = string(rest[:end])
	return ack, ack.Sequence > 0
}

// parseAck understands the answer to a publish; the error is a *fault.
func parseAck(m *nats.Msg) (pubAck, error) {
	if isNoResponders(m) {
		return pubAck{}, &fault{
			kind: ErrUnavailable, err: errors.New("no stream listens on the subject"), unsent: true,
			hint: "persistd creates the stream when it starts: is it running, and are prefix and namespace the same here and there?",
		}
	}
	if ack, ok := plainAck(m.Data); ok {
		return ack, nil
	}
	var ack pubAck
	err := json.Unmarshal(m.Data, &ack)
	switch {
	case err == nil && ack.Error != nil:
		return pubAck{}, ackFault(ack.Error)
	case err != nil || ack.Stream == "" || ack.Sequence == 0:
		return pubAck{}, &fault{
			kind: ErrUnavailable, err: errors.New("something answered that is not a stream"),
			hint: "something else subscribes to the write subjects and replies: stop it",
		}
	}
	return ack, nil
}

func ackFault(e *jetstream.APIError) *fault {
	f := ackCause(e)
	f.code = int(e.ErrorCode)
	return f
}

func ackCause(e *jetstream.APIError) *fault {
	err := fmt.Errorf("log answered: %w", e)
	switch e.ErrorCode {
	case codeAccountFull, codeInsufficient, codeMemoryFull, codeStorageFull:
		return &fault{kind: ErrLogFull, err: err, unsent: true, hint: hintFull}
	case codeStoreFailed:
		switch {
		case strings.HasPrefix(e.Description, "maximum "): // bytes, messages, messages per subject
			return &fault{kind: ErrLogFull, err: err, unsent: true, hint: hintFull}
		case e.Description == "message too large":
			return &fault{kind: ErrTooLarge, err: err, unsent: true, final: true, hint: hintSize}
		}
	case codeTooLarge, codeHeaderTooLarge:
		return &fault{kind: ErrTooLarge, err: err, unsent: true, final: true, hint: hintSize}
	case codeTooManyRequests, codeFenced, codeFenceMoving, codeBatchGap, codeBatchesBusy, codeNotRepeated:
		return &fault{kind: ErrUnavailable, err: err, unsent: true}
	case codeBatchRepeated:
		return &fault{kind: ErrUnavailable, err: err}
	case codeBatchesOff:
		return &fault{kind: ErrRejected, err: err, unsent: true, final: true, hint: hintBatches}
	case codeBatchTooLong:
		return &fault{kind: ErrTooLarge, err: err, unsent: true, final: true, hint: "raise max_batch_size, or max_payload, in the NATS server's configuration"}
	}
	if e.Code >= 500 || e.Code == 409 || e.Code == 429 {
		return &fault{kind: ErrUnavailable, err: err}
	}
	return &fault{kind: ErrRejected, err: err, unsent: true, final: true}
}

// publishFault is why the connection did not take a message.
func publishFault(err error) *fault {
	switch {
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return &fault{kind: ErrUnavailable, err: errors.New("not connected to NATS"), unsent: true, hint: hintConn}
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return &fault{kind: ErrUnavailable, err: err, unsent: true, final: true, hint: "the connection was closed for good: open the store again"}
	case errors.Is(err, nats.ErrMaxPayload):
		return &fault{kind: ErrTooLarge, err: err, unsent: true, final: true, hint: hintSize}
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		return &fault{kind: ErrRejected, err: err, unsent: true, final: true}
	default: // the socket failed with a part of it written
		return &fault{kind: ErrUnavailable, err: err, hint: hintConn}
	}
}

// errNoBatch is that a part of a batch was stored alone.
var errNoBatch = &fault{
	kind: ErrRejected, err: errors.New("log does not know atomic batches, which nats-server has from 2.12 on, and took the parts of a write for writes"),
	final: true,
}

// errNoGroups is that the messages of a group were stored one by one. They are asked for again with their ids, and then are what they are.
var errNoGroups = &fault{kind: ErrUnavailable, err: errors.New("log does not know atomic batches, which nats-server has from 2.12 on")}

// errBroken is that a member of a batch did not reach the log.
var errBroken = &fault{kind: ErrUnavailable, err: errors.New("the server forbids a write of it")}

// groupFault is why a member of a group that came to nothing for f is published by itself, in f's words. It is not of f's kind: that the member is
// too large, or refused for good, is not known, and it may be in the log before it is.
func groupFault(f *fault) *fault {
	return &fault{kind: ErrUnavailable, err: fmt.Errorf("its group was not logged: %v", f.err)} //nolint:errorlint // not wrapped, as said.
}

// Faults of attempts that nothing answered.
var (
	errNoAnswer = &fault{kind: ErrUnavailable, err: errors.New("log did not answer"), hint: "is the stream's leader up, and is the answer's inbox allowed for this user?"}
	errLostConn = &fault{kind: ErrUnavailable, err: errors.New("connection to NATS was lost"), hint: hintConn}
	errConnGone = &fault{kind: ErrUnavailable, err: nats.ErrConnectionClosed, final: true, hint: "the connection was closed for good: open the store again"}
)

func permissionFault(what string) *fault {
	return &fault{
		kind: ErrPermission, err: errors.New(what), final: true, unsent: true,
		hint: "let the user publish to <prefix>.write.> and <prefix>.read.>, and subscribe to its inbox",
	}
}
