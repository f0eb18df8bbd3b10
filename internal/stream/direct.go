package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// A page of a direct get: whichever bound is met first, exceeded in bytes by at most one message.
const (
	pageMessages = 256
	pageBytes    = 4 << 20
)

// directPage is one answer of a replica.
type directPage struct {
	// messages are of the subject asked for, in order, without a gap from where the page begins.
	messages []wire.Message
	// end is set when the replica has no more of the subject; another one may.
	end bool
}

// director reads a subject's messages in pages, from whichever replica answers. That may be one that is behind: it has the log up to
// some sequence, and nothing after it.
type director struct {
	nc      *nats.Conn
	stream  string
	subject string
	timeout time.Duration
}

type directRequest struct {
	Seq      uint64 `json:"seq"`
	NextFor  string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

func (d director) page(ctx context.Context, subject string, from uint64) (page directPage, err error) {
	body, err := json.Marshal(directRequest{Seq: from, NextFor: subject, Batch: pageMessages, MaxBytes: pageBytes})
	if err != nil {
		return page, fmt.Errorf("encode request: %w", err)
	}
	inbox := d.nc.NewInbox()
	sub, err := d.nc.SubscribeSync(inbox)
	if err != nil {
		return page, fmt.Errorf("subscribe for a page: %w", err)
	}
	defer func() { err = errors.Join(err, sub.Unsubscribe()) }()
	// The page bounds what is held; a limit here would drop messages out of its middle.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return page, fmt.Errorf("subscribe for a page: %w", err)
	}
	if err := d.nc.PublishRequest(d.subject, inbox, body); err != nil {
		return page, fmt.Errorf("ask for a page: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return page, fmt.Errorf("read a page: %w", err)
		}
		switch status := m.Header.Get("Status"); {
		case len(m.Header["Nats-Sequence"]) > 0: // only messages have it, whatever their publisher called a header
			msg, err := d.message(m)
			if err != nil {
				return page, err
			}
			page.messages = append(page.messages, msg)
		case status == "204":
			page.end = m.Header.Get("Nats-Num-Pending") == "0"
			return page, nil
		case status == "404":
			page.end = true
			return page, nil
		default:
			return page, fmt.Errorf("read a page: the server answered %s %s", status, m.Header.Get("Description"))
		}
	}
}

// last is the newest message of subject, or only its sequence when that is not above after. exists is also false when a mirror said that it has
// none.
func (d director) last(ctx context.Context, subject string, after uint64) (m wire.Message, exists bool, err error) {
	body, err := json.Marshal(getRequest{LastFor: subject})
	if err != nil {
		return m, false, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	reply, err := d.nc.RequestWithContext(ctx, d.subject, body)
	if err != nil {
		return m, false, fmt.Errorf("ask for the last message: %w", err)
	}
	numbers := reply.Header["Nats-Sequence"]
	if len(numbers) == 0 {
		return m, false, nil
	}
	if err := d.own(reply); err != nil {
		return m, false, err
	}
	if seq, err := strconv.ParseUint(numbers[len(numbers)-1], 10, 64); err == nil && seq <= after {
		return wire.Message{Sequence: seq}, true, nil
	}
	m, err = directMessage(reply)
	return m, err == nil, err
}

// first is the oldest message of subject at or after from, and how many there are from it on, trims in between counted.
func (d director) first(ctx context.Context, subject string, from uint64) (m wire.Message, held uint64, found bool, err error) {
	body, err := json.Marshal(directRequest{Seq: from, NextFor: subject, Batch: 1})
	if err != nil {
		return m, 0, false, fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	// The answer is the message. The end of the page, which follows, is not listened to any more.
	reply, err := d.nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: d.subject, Data: body})
	if err != nil {
		return m, 0, false, fmt.Errorf("ask for the first message: %w", err)
	}
	pending := reply.Header["Nats-Num-Pending"]
	if len(reply.Header["Nats-Sequence"]) == 0 || len(pending) == 0 { // there is none
		return m, 0, false, nil
	}
	behind, err := strconv.ParseUint(pending[len(pending)-1], 10, 63)
	if err != nil {
		return m, 0, false, fmt.Errorf("read how many messages follow: %w", err)
	}
	m, err = d.message(reply)
	return m, behind + 1, err == nil, err
}

// message is directMessage of the log itself.
func (d director) message(m *nats.Msg) (wire.Message, error) {
	if err := d.own(m); err != nil {
		return wire.Message{}, err
	}
	return directMessage(m)
}

// own is an error when a message is not of the log itself. A mirror of it answers as well, whatever it leaves out or has not got yet.
func (d director) own(m *nats.Msg) error {
	if names := m.Header["Nats-Stream"]; len(names) == 0 || names[len(names)-1] != d.stream {
		return fmt.Errorf("read a message of %s: it was answered by %q, as its mirrors do", d.stream, names)
	}
	return nil
}

// directMessage makes a message of the log from an answer, whose headers are the message's own followed by the server's. A publisher
// may have used the same names, so it is the last value that is the server's.
func directMessage(m *nats.Msg) (wire.Message, error) {
	h := wire.Header(maps.Clone(m.Header))
	take := func(key string) string {
		values := h[key]
		if len(values) == 0 {
			return ""
		}
		last := len(values) - 1
		if h[key] = values[:last:last]; last == 0 {
			delete(h, key)
		}
		return values[last]
	}
	msg := wire.Message{Subject: take("Nats-Subject"), Body: m.Data}
	seq, err := strconv.ParseUint(take("Nats-Sequence"), 10, 64)
	if err != nil {
		return msg, fmt.Errorf("read the sequence of a message: %w", err)
	}
	if msg.Logged, err = time.Parse(time.RFC3339Nano, take("Nats-Time-Stamp")); err != nil {
		return msg, fmt.Errorf("read the time of message %d: %w", seq, err)
	}
	for _, key := range []string{"Nats-Stream", "Nats-Num-Pending", "Nats-Last-Sequence"} {
		take(key)
	}
	msg.Sequence, msg.Logged = seq, msg.Logged.UTC()
	if len(h) > 0 {
		msg.Header = h
	}
	return msg, nil
}
