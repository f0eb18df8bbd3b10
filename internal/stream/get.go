package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

// errNotFound is the leader's answer that there is no such message.
var errNotFound = errors.New("no such message")

// getter reads single messages of one stream from its leader, so it sees all that is acknowledged. nats.go's own methods would
// use Direct Get, which any replica answers.
type getter struct {
	nc      *nats.Conn
	subject string
	timeout time.Duration
}

func newGetter(js jetstream.JetStream, stream string, timeout time.Duration) getter {
	return getter{nc: js.Conn(), subject: apiPrefix(js) + "STREAM.MSG.GET." + stream, timeout: timeout}
}

// getRequest asks for one message; see the server's JSApiMsgGetRequest.
type getRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	LastFor   string     `json:"last_by_subj,omitempty"`
	NextFor   string     `json:"next_by_subj,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
}

type getResponse struct {
	Error   *jetstream.APIError `json:"error"`
	Message *struct {
		Subject  string    `json:"subject"`
		Sequence uint64    `json:"seq"`
		Header   []byte    `json:"hdrs"`
		Data     []byte    `json:"data"`
		Time     time.Time `json:"time"`
	} `json:"message"`
}

// at is the message at a sequence, of whatever subject.
func (g getter) at(ctx context.Context, seq uint64) (wire.Message, error) {
	return g.do(ctx, getRequest{Seq: seq})
}

// last is the newest message of subject.
func (g getter) last(ctx context.Context, subject string) (wire.Message, error) {
	return g.do(ctx, getRequest{LastFor: subject})
}

// lastAfter is the newest message of subject, or only its sequence when that is not above after: most reads find nothing new in the log, and
// have no use for a state that is a row.
func (g getter) lastAfter(ctx context.Context, subject string, after uint64) (wire.Message, error) {
	answer, err := g.ask(ctx, getRequest{LastFor: subject})
	if err != nil {
		return wire.Message{}, err
	}
	if seq := sequenceOf(answer); 0 < seq && seq <= after {
		return wire.Message{Sequence: seq}, nil
	}
	return messageOf(answer)
}

// seq is the message of that sequence.
func (g getter) seq(ctx context.Context, seq uint64) (wire.Message, error) {
	return g.do(ctx, getRequest{Seq: seq})
}

// next is the oldest message of subject, which may hold wildcards, at or after the sequence from.
func (g getter) next(ctx context.Context, subject string, from uint64) (wire.Message, error) {
	return g.do(ctx, getRequest{NextFor: subject, Seq: from})
}

// since is the oldest message of subject that was logged at or after t.
func (g getter) since(ctx context.Context, subject string, t time.Time) (wire.Message, error) {
	t = t.UTC()
	return g.do(ctx, getRequest{NextFor: subject, StartTime: &t})
}

func (g getter) do(ctx context.Context, req getRequest) (wire.Message, error) {
	answer, err := g.ask(ctx, req)
	if err != nil {
		return wire.Message{}, err
	}
	return messageOf(answer)
}

func (g getter) ask(ctx context.Context, req getRequest) (answer []byte, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	reply, err := g.nc.RequestWithContext(ctx, g.subject, body)
	if err != nil {
		return nil, fmt.Errorf("ask the stream's leader: %w", err)
	}
	return reply.Data, nil
}

// sequenceOf is the sequence of the message in an answer, found without reading what comes behind it; 0 when there is none, or when the
// answer is not as usual.
func sequenceOf(answer []byte) uint64 {
	d := jsontext.NewDecoder(bytes.NewBuffer(answer))
	if !member(d, "message") || !member(d, "seq") {
		return 0
	}
	number, err := d.ReadValue()
	if err != nil {
		return 0
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return 0
	}
	return seq
}

// member goes to the value of the member name of the object that d stands before.
func member(d *jsontext.Decoder, name string) bool {
	if t, err := d.ReadToken(); err != nil || t.Kind() != jsontext.BeginObject.Kind() {
		return false
	}
	for {
		t, err := d.ReadToken()
		if err != nil || t.Kind() != '"' {
			return false
		}
		if t.String() == name {
			return true
		}
		if err := d.SkipValue(); err != nil {
			return false
		}
	}
}

func messageOf(answer []byte) (wire.Message, error) {
	var resp getResponse
	if err := json.Unmarshal(answer, &resp); err != nil {
		return wire.Message{}, fmt.Errorf("read the stream leader's answer: %w", err)
	}
	switch m := resp.Message; {
	case resp.Error != nil && resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return wire.Message{}, errNotFound
	case resp.Error != nil:
		return wire.Message{}, fmt.Errorf("ask the stream's leader: %w", resp.Error)
	case m == nil:
		return wire.Message{}, errors.New("read the stream leader's answer: it has neither message nor error")
	default:
		msg := wire.Message{Subject: m.Subject, Body: m.Data, Sequence: m.Sequence, Logged: m.Time.UTC()}
		if len(m.Header) > 0 {
			h, err := nats.DecodeHeadersMsg(m.Header)
			if err != nil {
				return wire.Message{}, fmt.Errorf("read headers of message %d: %w", m.Sequence, err)
			}
			msg.Header = header(h)
		}
		return msg, nil
	}
}
