package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// I7: each kind of poison that is seen without the database becomes a dead letter, with the event's own bytes and headers, before the position
// passes it; and what stands around it is stored.
func TestI7EveryKindOfPoisonIsKeptAsItCame(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	const rest = `,"node_id":"n","state":{}}`
	long := strings.Repeat("x", 300)
	step := func(n int, state string) string { return fmt.Sprintf(`{"step":%d,"node_id":"n","state":%s}`, n, state) }
	packed := nats.Header{wire.HeaderEncoding: {wire.EncodingZstd}}
	part := func(text string) nats.Header { return nats.Header{wire.HeaderPart: {text}} }
	tests := []struct {
		name  string
		code  string
		token string // run-1 if it is empty
		body  string
		head  nats.Header
	}{
		{name: "nothing", code: wire.CodeNotJSON},
		{name: "a blank", code: wire.CodeNotJSON, body: " "},
		{name: "no JSON", code: wire.CodeNotJSON, body: "hello"},
		{name: "bytes", code: wire.CodeNotJSON, body: "\x00\x01\xfe\xff"},
		{name: "half an object", code: wire.CodeNotJSON, body: `{"step":1`},
		{name: "two objects", code: wire.CodeNotJSON, body: step(1, "1") + step(2, "1")},
		{name: "UTF-16", code: wire.CodeNotJSON, body: "\xff\xfe{\x00}\x00"},
		{name: "invalid UTF-8 in the state", code: wire.CodeNotJSON, body: step(1, "\"\xc3\x28\"")},
		{name: "half a surrogate pair", code: wire.CodeNotJSON, body: step(1, `"\ud800"`)},
		{name: "not a number", code: wire.CodeNotJSON, body: step(1, `NaN`)},
		{name: "infinity", code: wire.CodeNotJSON, body: step(1, `-Infinity`)},
		{name: "a comment", code: wire.CodeNotJSON, body: step(1, `1 /* one */`)},
		{name: "an array", code: wire.CodeBody, body: `[` + step(1, "1") + `]`},
		{name: "null", code: wire.CodeBody, body: `null`},
		{name: "no step", code: wire.CodeBody, body: `{"node_id":"n","state":{}}`},
		{name: "no state", code: wire.CodeBody, body: `{"step":1,"node_id":"n"}`},
		{name: "a member twice", code: wire.CodeBody, body: `{"step":1,"step":2` + rest},
		{name: "a member twice, once escaped", code: wire.CodeBody, body: `{"step":1,"st\u0065p":2` + rest},
		{name: "a member that is unknown", code: wire.CodeBody, body: `{"step":1,"stpe":2` + rest},
		{name: "no ops", code: wire.CodeBody, body: `{"ops":[]}`},
		{name: "an op of the future", code: wire.CodeOp, body: `{"ops":[{"op":"forget","step":1` + rest + `]}`},
		{name: "a step above INT", code: wire.CodeStep, body: `{"step":2147483648` + rest},
		{name: "a step below INT", code: wire.CodeStep, body: `{"step":-2147483649` + rest},
		{name: "a step of thousands of digits", code: wire.CodeStep, body: `{"step":` + strings.Repeat("9", 5000) + rest},
		{name: "a step with a fraction", code: wire.CodeStep, body: `{"step":1.5` + rest},
		{name: "a step with an exponent", code: wire.CodeStep, body: `{"step":1e400` + rest},
		{name: "a run of 300 characters", code: wire.CodeID, token: wire.Token(long), body: `{"run_id":"` + long + `","step":1` + rest},
		{name: "a run that ends in a space", code: wire.CodeID, token: "a%20", body: `{"step":1` + rest},
		{name: "a run that is no text", code: wire.CodeID, token: "%FF", body: `{"step":1` + rest},
		{name: "another run than the subject's", code: wire.CodeID, body: `{"run_id":"run-2","step":1` + rest},
		{name: "a hash without its run", code: wire.CodeToken, token: wire.Token(long), body: `{"step":1` + rest},
		{name: "a node of 300 characters", code: wire.CodeNode, body: `{"step":1,"node_id":"` + long + `","state":{}}`},
		{name: "a state 101 deep", code: wire.CodeDepth, body: step(1, strings.Repeat("[", 101)+strings.Repeat("]", 101))},
		{name: "a state 10,000 deep", code: wire.CodeDepth, body: step(1, strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000))},
		{name: "a bomb", code: wire.CodeEncoding, body: string(wire.Compress(make([]byte, 64<<20))), head: packed},
		{name: "a bomb of many frames", code: wire.CodeEncoding, body: strings.Repeat(string(wire.Compress(make([]byte, 7<<20))), 50), head: packed},
		{name: "a frame that is cut", code: wire.CodeEncoding, body: string(wire.Compress([]byte(step(1, `"`+long+`"`)))[:20]), head: packed},
		{name: "no frame", code: wire.CodeEncoding, body: step(1, "1"), head: packed},
		{name: "an encoding that nobody knows", code: wire.CodeEncoding, body: step(1, "1"), head: nats.Header{wire.HeaderEncoding: {"gzip"}}},
		{name: "a part without its others", code: wire.CodePart, body: step(1, "1"), head: part("tx 2 of 3")},
		{name: "a part that is none", code: wire.CodePart, body: step(1, "1"), head: part("tx 0 of 3")},
		{name: "headers of 50 KiB", code: wire.CodeNotJSON, body: "hello", head: nats.Header{"Trace": {strings.Repeat("t", 50<<10)}}},
		{name: "headers that forge a letter's", code: wire.CodeNotJSON, body: "hello", head: nats.Header{
			stream.HeaderCode: {"forged"}, stream.HeaderSequence: {"1"}, "Nats-Msg-Id": {"mine"},
		}},
	}
	release := s.lockPartitions() // nothing can be committed
	sent := map[uint64]*nats.Msg{}
	name := map[uint64]int{}
	for i, tt := range tests {
		m := nats.NewMsg("persistd.write.default.run." + tt.token)
		if tt.token == "" {
			m.Subject += "run-1"
		}
		m.Data = []byte(tt.body)
		m.Header = nats.Header{"Of": {tt.name}}
		maps.Copy(m.Header, tt.head)
		ack, err := s.js.PublishMsg(t.Context(), m)
		require.NoError(t, err, tt.name)
		sent[ack.Sequence], name[ack.Sequence] = m, i
		s.publish("good", step(i, `{"good":true}`))
	}
	s.eventually("the letters of the first batch are kept", func() bool { return len(s.deadLetters()) > 0 })
	require.Zero(t, s.position(0), "before the position passes them")
	release()
	last := uint64(2 * len(tests))
	s.eventually("all of it is passed", func() bool { return s.position(0) == last })
	require.Equal(t, len(tests), s.rows("TRUE"))
	require.Equal(t, len(tests), s.rows("run_id='good'"), "what stands between them is stored")

	list := s.letters(len(tests))
	for _, l := range list {
		tt, was := tests[name[l.Sequence]], sent[l.Sequence]
		require.Equal(t, tt.code, l.Code, "%s: %s", tt.name, l.Reason)
		require.NotEmpty(t, l.Reason)
		require.Zero(t, l.ErrorNumber)
		require.WithinDuration(t, time.Now(), l.LoggedAt, 10*time.Minute)
		require.Equal(t, "persistd.log.0."+strings.TrimPrefix(was.Subject, "persistd.write."), l.Subject)
	}
	kept := s.openLetters()
	all, err := kept.List(t.Context(), nil)
	require.NoError(t, err)
	for _, x := range all {
		m, err := kept.Open(t.Context(), x)
		require.NoError(t, err)
		was := sent[x.Sequence]
		require.Equal(t, string(was.Data), string(m.Body), tests[name[x.Sequence]].name)
		require.Equal(t, map[string][]string(was.Header), map[string][]string(m.Header), tests[name[x.Sequence]].name)
		logged, err := s.logMessage(x.Sequence)
		require.NoError(t, err)
		require.Equal(t, logged.UTC(), x.Logged)
	}
}

// openLetters is the dead letters as persistd dlq has them.
func (s *stack) openLetters() *stream.Letters {
	s.t.Helper()
	l, err := stream.OpenLetters(s.t.Context(), s.js, stream.Config{})
	require.NoError(s.t, err)
	return l
}

// logMessage is when the message at seq was logged.
func (s *stack) logMessage(seq uint64) (time.Time, error) {
	st, err := s.js.Stream(s.t.Context(), "PERSISTD")
	if err != nil {
		return time.Time{}, err
	}
	m, err := st.GetMsg(s.t.Context(), seq)
	if err != nil {
		return time.Time{}, err
	}
	return m.Time, nil
}
