package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/persistd/persistd/internal/wire"
)

// compressAbove is the size from which a reply is worth compressing, in bytes.
const compressAbove = 8 << 10

// reply is an answer that may be a page: then it may have fewer records, and say where the next page begins.
type reply struct {
	records int
	// body is the answer with the first n of its records.
	body func(n int) ([]byte, error)
}

// whole is an answer that is not a page.
func whole(v any) reply { return page(1, func(int) any { return v }) }

// page is an answer of records, with fewer of them if need be.
func page(records int, first func(n int) any) reply {
	return reply{records, func(n int) ([]byte, error) { return wire.Marshal(first(n)) }}
}

// list is s, and in JSON a list also when it is empty.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// answer is how a verb answers: the request is understood, asked with call, and the reply sent. form is a request for people to copy.
func answer[Q any](s *Service, form string, call func(ctx context.Context, namespace string, q Q) (reply, error)) func(context.Context, micro.Request) error {
	return func(ctx context.Context, r micro.Request) error {
		a, err := understand(ctx, s.cfg.Subjects.ReadNamespace(r.Subject()), r.Data(), form, call)
		if err != nil {
			return err
		}
		return s.reply(r, a)
	}
}

// understand decodes a request, and asks what it asks for.
func understand[Q any](ctx context.Context, namespace string, data []byte, form string, call func(ctx context.Context, namespace string, q Q) (reply, error)) (reply, error) {
	var q Q
	if err := json.Unmarshal(data, &q); err != nil {
		return reply{}, badRequest("decode request: %w (it reads %s)", err, form)
	}
	return call(ctx, namespace, q)
}

func badRequest(format string, args ...any) error {
	return &fault{wire.StatusBadRequest, fmt.Errorf(format, args...)}
}

// reply sends a, with half of its records as often as that takes to fit a message.
func (s *Service) reply(r micro.Request, a reply) error {
	for n := a.records; ; n /= 2 {
		body, err := a.body(n)
		if err != nil {
			return err
		}
		err = s.respond(r, body)
		if f, ok := errors.AsType[*fault](err); !ok || f.status != wire.StatusTooLarge || n <= 1 {
			return err
		}
	}
}

// respond sends body, compressed when that is worth it and the caller takes it.
func (s *Service) respond(r micro.Request, body []byte) error {
	var header nats.Header
	if len(body) > compressAbove && strings.Contains(nats.Header(r.Headers()).Get(wire.HeaderAccept), wire.EncodingZstd) {
		body = wire.Compress(body)
		header = nats.Header{wire.HeaderEncoding: {wire.EncodingZstd}}
	}
	// A reply above the limit would cost the connection, and with it everybody's requests.
	if limit := s.nc.MaxPayload(); limit > 0 && int64(len(body))+1024 > limit {
		return &fault{wire.StatusTooLarge, fmt.Errorf("reply has %d bytes, more than the server's max_payload of %d takes: raise max_payload, or accept zstd", len(body), limit)}
	}
	return s.send(r, body, header)
}

// send replies to r. The request's own methods may be called only before its handler returns, which looks at what they noted then; here
// the handler has returned.
func (s *Service) send(r micro.Request, body []byte, header nats.Header) error {
	if r.Reply() == "" {
		return nats.ErrMsgNoReply
	}
	if err := s.nc.PublishMsg(&nats.Msg{Subject: r.Reply(), Header: header, Data: body}); err != nil {
		return fmt.Errorf("send reply: %w", err)
	}
	return nil
}

func (s *Service) answerStatus(ctx context.Context, r micro.Request) error {
	body, err := json.Marshal(s.status(ctx))
	if err != nil {
		return fmt.Errorf("encode status: %w", err)
	}
	return s.respond(r, body)
}
