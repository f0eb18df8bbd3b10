package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// stranger follows docs/protocol.md with a NATS client and nothing else, as a program in another language does.
type stranger struct {
	*stack
	acks int
}

// req publishes body as a request and returns the answer. Headers are given as KEY:value.
func (s *stranger) req(subject, body string, headers ...string) *nats.Msg {
	s.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ":")
		m.Header[k] = append(m.Header[k], v)
	}
	reply, err := s.nc.RequestMsg(m, 15*time.Second)
	require.NoError(s.t, err)
	return reply
}

// ask sends a read and requires the answer to be the JSON want, but for members that no document can know.
func (s *stranger) ask(verb, request, want string) map[string]any {
	s.t.Helper()
	reply := s.req("persistd.read.default."+verb, request)
	require.Empty(s.t, reply.Header.Get("Nats-Service-Error-Code"), "%s: %s", verb, reply.Header.Get("Nats-Service-Error"))
	var got map[string]any
	require.NoError(s.t, json.Unmarshal(reply.Data, &got), "%s", reply.Data)
	if want != "" {
		require.JSONEq(s.t, want, string(masked(s.t, reply.Data)), verb)
	}
	return got
}

// masked replaces times and sequences, which differ each time.
func masked(t testing.TB, text []byte) []byte {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(text, &v))
	var mask func(v any)
	mask = func(v any) {
		switch v := v.(type) {
		case []any:
			for i := range v {
				mask(v[i])
			}
		case map[string]any:
			for k := range v {
				switch k {
				case "saved_at", "logged_at", "updated_at":
					_, err := time.Parse(time.RFC3339Nano, fmt.Sprint(v[k]))
					require.NoError(t, err)
					v[k] = "T"
				case "sequence":
					v[k] = v[k].(float64) > 0
				case "cursor":
				default:
					mask(v[k])
				}
			}
		}
	}
	mask(v)
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return out
}

// write publishes an event and returns its sequence.
func (s *stranger) write(key, body string, headers ...string) uint64 {
	s.t.Helper()
	ack := s.answer(key, body, headers...)
	require.Zero(s.t, ack.Error.Code, "%s", ack.Error.Description)
	return ack.Seq
}

type strangersAck struct {
	Stream string
	Seq    uint64
	Count  int
	Error  struct {
		Code        int    `json:"code"`
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

func (s *stranger) answer(key, body string, headers ...string) (ack strangersAck) {
	s.t.Helper()
	s.acks++
	reply := s.req("persistd.write.default."+key, body, append(headers, fmt.Sprintf("Nats-Msg-Id:stranger-%d", s.acks))...)
	require.NoError(s.t, json.Unmarshal(reply.Data, &ack), "%q", reply.Data)
	return ack
}

// committed waits until an event is, or is decided; more are members of the request.
func (s *stranger) committed(key string, seq uint64, more, want string) {
	s.t.Helper()
	s.decided(fmt.Sprintf(`{%s,"stream":"PERSISTD","sequence":%d,"wait_ms":5000%s}`, key, seq, more), want)
}

// decided asks what became of an event until that is known: not yet means to ask again.
func (s *stranger) decided(request, want string) (got map[string]any) {
	s.t.Helper()
	s.eventually("it is known what became of the event", func() bool {
		got = s.ask("committed", request, "")
		return len(got) != 1 || got["committed"] != false
	})
	if want != "" {
		text, err := json.Marshal(got)
		require.NoError(s.t, err)
		require.JSONEq(s.t, want, string(text))
	}
	return got
}
