package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var subjects = Subjects{Prefix: "persistd"}

// logged is a message of run-001 with body.
func logged(body string) Message {
	return Message{Subject: "persistd.log.5.default.run.run-001", Body: []byte(body), Sequence: 7}
}

func compressed(body []byte) Message {
	m := logged("")
	m.Body, m.Header = Compress(body), Header{HeaderEncoding: {EncodingZstd}}
	return m
}

func TestDecodeGood(t *testing.T) {
	t.Parallel()
	step := func(n int32, node, state string) Op {
		return Op{Type: OpStep, Step: n, NodeID: node, State: []byte(state)}
	}
	tests := []struct {
		name string
		msg  Message
		run  string
		ops  []Op
	}{
		{"written by hand", logged(`{"step":1,"node_id":"start","state":{"n":1}}`), "run-001", []Op{step(1, "start", `{"n":1}`)}},
		{"with the id", logged(`{"run_id":"run-001","step":1,"node_id":"start","state":{"n":1}}`), "run-001", []Op{step(1, "start", `{"n":1}`)}},
		{"in another order, with blanks", logged(" {\n\"state\" : [ 1 , 2 ] ,\"node_id\":\"\" , \"step\" : -5 } \r\n\t"), "run-001", []Op{step(-5, "", `[ 1 , 2 ]`)}},
		{
			"the smallest and largest step", logged(`{"ops":[{"op":"step","step":-2147483648,"node_id":"a","state":null},{"op":"step","step":2147483647,"node_id":"b","state":1e999}]}`),
			"run-001",
			[]Op{step(math.MinInt32, "a", "null"), step(math.MaxInt32, "b", "1e999")},
		},
		{"escapes in ids", logged(`{"run_id":"run\u002d001","step":1,"node_id":"\ud83d\ude80\"","state":"\ud83d\ude80"}`), "run-001", []Op{step(1, "\U0001F680\"", `"\ud83d\ude80"`)}},
		{"names doubled within the state", logged(`{"step":1,"node_id":"n","state":{"a":1,"a":2}}`), "run-001", []Op{step(1, "n", `{"a":1,"a":2}`)}},
		{
			"several ops, the last one counts", logged(`{"run_id":"run-001","ops":[{"op":"step","step":1,"node_id":"a","state":1},{"state":2,"op":"step","node_id":"b","step":1}]}`),
			"run-001",
			[]Op{step(1, "a", "1"), step(1, "b", "2")},
		},
		{"an id that the token spells", Message{Subject: "persistd.log.0.default.run.a%2Eb", Body: []byte(`{"step":1,"node_id":"n","state":1}`)}, "a.b", []Op{step(1, "n", "1")}},
		{"an id that the token hides", Message{
			Subject: "persistd.log.0.default.run." + Token(strings.Repeat("ü", 200)),
			Body:    []byte(`{"run_id":"` + strings.Repeat("ü", 200) + `","step":1,"node_id":"n","state":1}`),
		}, strings.Repeat("ü", 200), []Op{step(1, "n", "1")}},
		{
			"compressed", compressed([]byte(`{"step":1,"node_id":"n","state":{"a":"` + strings.Repeat("x", 5000) + `"}}`)), "run-001",
			[]Op{step(1, "n", `{"a":"`+strings.Repeat("x", 5000)+`"}`)},
		},
		{
			"nested as deep as a state may be", logged(`{"step":1,"node_id":"n","state":` + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + `}`),
			"run-001",
			[]Op{step(1, "n", strings.Repeat("[", MaxDepth)+strings.Repeat("]", MaxDepth))},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			body := bytes.Clone(test.msg.Body)
			ev := subjects.Decode(test.msg)
			require.Nil(t, ev.Poison)
			require.Equal(t, test.run, ev.RunID)
			require.Equal(t, seen(test.ops), ev.Ops)
			require.Equal(t, "default", ev.Namespace)
			require.Equal(t, test.msg, ev.Message)
			require.Equal(t, body, test.msg.Body, "the body is not modified")
			require.GreaterOrEqual(t, ev.Size, len(ev.RunID)+len(ev.Ops[0].State))
		})
	}
}

func TestDecodePoison(t *testing.T) {
	t.Parallel()
	const state = `"node_id":"n","state":{}`
	bomb := make([]byte, MaxBody+1)
	subject := func(s string) Message {
		return Message{Subject: s, Body: []byte(`{"step":1,` + state + `}`)}
	}
	header := func(encoding, body string) Message {
		m := logged(body)
		m.Header = Header{HeaderEncoding: {encoding}}
		return m
	}
	tests := []struct {
		name string
		code string
		msg  Message
	}{
		{"nothing", CodeNotJSON, logged("")},
		{"no JSON", CodeNotJSON, logged("hello")},
		{"half an object", CodeNotJSON, logged(`{"step":1,` + state)},
		{"two objects", CodeNotJSON, logged(`{"step":1,` + state + `}{}`)},
		{"invalid UTF-8 in the state", CodeNotJSON, logged("{\"step\":1,\"node_id\":\"n\",\"state\":\"\xff\"}")},
		{"half a surrogate pair in the state", CodeNotJSON, logged(`{"step":1,"node_id":"n","state":"\ud83d"}`)},
		{"a number that JSON does not have", CodeNotJSON, logged(`{"step":01,` + state + `}`)},
		{"a trailing comma", CodeNotJSON, logged(`{"step":1,` + state + `,}`)},
		{"an array", CodeBody, logged(`[]`)},
		{"a string", CodeBody, logged(`"x"`)},
		{"an empty object", CodeBody, logged(`{}`)},
		{"no step", CodeBody, logged(`{` + state + `}`)},
		{"no node_id", CodeBody, logged(`{"step":1,"state":{}}`)},
		{"no state", CodeBody, logged(`{"step":1,"node_id":"n"}`)},
		{"an unknown member", CodeBody, logged(`{"step":1,"extra":1,` + state + `}`)},
		{"a member in other case", CodeBody, logged(`{"Step":1,` + state + `}`)},
		{"a member twice", CodeBody, logged(`{"step":1,"step":1,` + state + `}`)},
		{"both forms", CodeBody, logged(`{"step":1,` + state + `,"ops":[]}`)},
		{"no ops", CodeBody, logged(`{"ops":[]}`)},
		{"ops that are no array", CodeBody, logged(`{"ops":{}}`)},
		{"an op that is no object", CodeBody, logged(`{"ops":[1]}`)},
		{"a member of an op twice", CodeBody, logged(`{"ops":[{"op":"step","op":"step","step":1,` + state + `}]}`)},
		{"a node_id that is no string", CodeBody, logged(`{"step":1,"node_id":1,"state":{}}`)},
		{"a run_id that is no string", CodeBody, logged(`{"run_id":null,"step":1,` + state + `}`)},
		{"an op's run_id", CodeBody, logged(`{"ops":[{"op":"step","run_id":"run-001","step":1,` + state + `}]}`)},
		{"too many ops", CodeBody, logged(`{"ops":[` + strings.Repeat(`{"op":"step","step":1,`+state+`},`, MaxOps) + `{"op":"step","step":1,` + state + `}]}`)},
		{"an op of the future", CodeOp, logged(`{"ops":[{"op":"forget","step":1,` + state + `}]}`)},
		{"an op without a name", CodeOp, logged(`{"ops":[{"step":1,` + state + `}]}`)},
		{"a step above INT", CodeStep, logged(`{"step":2147483648,` + state + `}`)},
		{"a step below INT", CodeStep, logged(`{"step":-2147483649,` + state + `}`)},
		{"a step beyond 64 bits", CodeStep, logged(`{"step":99999999999999999999,` + state + `}`)},
		{"a step with a fraction", CodeStep, logged(`{"step":1.0,` + state + `}`)},
		{"a step with an exponent", CodeStep, logged(`{"step":1e2,` + state + `}`)},
		{"a step that is a string", CodeStep, logged(`{"step":"1",` + state + `}`)},
		{"an empty id", CodeID, logged(`{"run_id":"","step":1,` + state + `}`)},
		{"another run's id", CodeID, logged(`{"run_id":"run-002","step":1,` + state + `}`)},
		{"an id in other case", CodeID, logged(`{"run_id":"Run-001","step":1,` + state + `}`)},
		{"an id ending in a space", CodeID, subject("persistd.log.0.default.run.a%20")},
		{"an id of 256 characters", CodeID, Message{
			Subject: "persistd.log.0.default.run." + Token(strings.Repeat("x", 256)),
			Body:    []byte(`{"run_id":"` + strings.Repeat("x", 256) + `","step":1,` + state + `}`),
		}},
		{"an id that is no UTF-8", CodeID, subject("persistd.log.0.default.run.%FF")},
		{"a node_id of 256 characters", CodeNode, logged(`{"step":1,"node_id":"` + strings.Repeat("n", 256) + `","state":{}}`)},
		{"a hash, and no id in the body", CodeToken, subject("persistd.log.0.default.run.~" + strings.Repeat("0", 64))},
		{"a token that no id has", CodeToken, subject("persistd.log.0.default.run.a%2eb")},
		{"a state one too deep", CodeDepth, logged(`{"step":1,"node_id":"n","state":` + strings.Repeat("[", MaxDepth+1) + strings.Repeat("]", MaxDepth+1) + `}`)},
		{"a body too large", CodeSize, Message{Subject: "persistd.log.0.default.run.a", Body: bomb}},
		{"an unknown encoding", CodeEncoding, header("gzip", `{"step":1,`+state+`}`)},
		{"an encoding in other case", CodeEncoding, header("ZSTD", `{"step":1,`+state+`}`)},
		{"not what the encoding says", CodeEncoding, header(EncodingZstd, `{"step":1,`+state+`}`)},
		{"a bomb", CodeEncoding, compressed(bomb)},
		{"a damaged frame", CodeEncoding, header(EncodingZstd, string(Compress([]byte(`{"step":1,` + state + `}`))[:12]))},
		{"a subject of nothing", CodeSubject, subject("persistd.write.default.run.run-001")},
		{"a subject of another prefix", CodeSubject, subject("other.log.0.default.run.run-001")},
		{"a subject without a token", CodeSubject, subject("persistd.log.0.default.run")},
		{"a subject with too many tokens", CodeSubject, subject("persistd.log.0.default.run.a.b")},
		{"a partition that is no number", CodeSubject, subject("persistd.log.x.default.run.a")},
		{"a partition that is spelled otherwise", CodeSubject, subject("persistd.log.+5.default.run.a")},
		{"a negative partition", CodeSubject, subject("persistd.log.-1.default.run.a")},
		{"a kind of the future", CodeSubject, subject("persistd.log.0.default.future.a")},
		{"a part that is none", CodePart, Message{Subject: "persistd.log.0.default.run.a", Header: Header{HeaderPart: {"tx 4 of 3"}}, Body: []byte(`{"step":1,` + state + `}`)}},
	}
	seen := map[string]bool{CodeDatabase: true, CodeAttempt: true} // which are only found at commit
	for _, test := range tests {
		seen[test.code] = true
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ev := subjects.Decode(test.msg)
			require.NotNil(t, ev.Poison)
			require.Equal(t, test.code, ev.Poison.Code, ev.Poison.Reason)
			require.NotEmpty(t, ev.Poison.Reason)
			require.Less(t, len(ev.Poison.Reason), 2000)
			require.Empty(t, ev.Ops)
			require.Equal(t, test.msg, ev.Message)
		})
	}
	for _, code := range Codes() {
		require.True(t, seen[code], "no row has the code %s", code)
	}
}

// A bomb costs no more memory than a body may have.
func TestABombIsNotUnpacked(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	require.NoError(t, err)
	for range 512 {
		_, err = w.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.Less(t, b.Len(), 1<<20)
	result := testing.Benchmark(func(bench *testing.B) {
		bench.Helper()
		for bench.Loop() {
			if _, err := Decompress(b.Bytes()); err == nil {
				bench.Fatal("unpacked")
			}
		}
	})
	require.Less(t, result.AllocedBytesPerOp(), int64(8*MaxBody))
}

// slowDepth is Depth by a real parser.
func slowDepth(state string) (deepest int) {
	dec := json.NewDecoder(strings.NewReader(state))
	dec.UseNumber()
	for depth := 0; ; {
		tok, err := dec.Token()
		if err != nil {
			return deepest
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

func TestDepthIsWhatAParserFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		state := states().Draw(t, "state")
		require.Equal(t, slowDepth(state), Depth([]byte(state)), state)
	})
}

func TestCheckStateRefusesWhatDecodeWould(t *testing.T) {
	t.Parallel()
	for state, code := range map[string]string{
		``: CodeNotJSON, `{`: CodeNotJSON, `{}{}`: CodeNotJSON, "\"\xff\"": CodeNotJSON, `"\ud800"`: CodeNotJSON, `NaN`: CodeNotJSON,
		strings.Repeat("[", 32) + strings.Repeat("]", 32): CodeDepth,
		`"` + strings.Repeat("x", MaxBody) + `"`:          CodeSize,
	} {
		var p *Poison
		require.ErrorAs(t, CheckState([]byte(state), MaxDepthPortable), &p)
		require.Equal(t, code, p.Code, "%.40s", state)
	}
	require.NoError(t, CheckState([]byte(strings.Repeat("[", 31)+strings.Repeat("]", 31)), MaxDepthPortable))
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	s := Subjects{Prefix: "acme.persistd"}
	require.Equal(t, "acme.persistd.write.default.run.a%2Eb", s.Write("default", KindRun, "a.b"))
	require.Equal(t, "acme.persistd.log.5.default.run.a%2Eb", s.Log(5, "default", KindRun, "a.b"))
	addr, err := s.ParseLog(s.Log(5, "default", KindRun, "a.b"))
	require.NoError(t, err)
	require.Equal(t, Address{Partition: 5, Namespace: "default", Kind: KindRun, Token: "a%2Eb"}, addr)
	require.Equal(t, "team", s.ReadNamespace(s.Read("team", "latest")))
	require.Equal(t, "acme.persistd.dlq.3.17", s.DeadLetter(3, 17))
	require.Equal(t, "acme.persistd.log.5.>", s.LogPartition(5))
	require.Equal(t, 5, Partition("default", "run-001", 8)) // the vectors of docs/protocol.md
	require.Equal(t, 1, Partition("default", "a.b", 8))
	require.Equal(t, 5, Partition("default", "\U0001F680", 8))
	require.Equal(t, 0, Partition("default", strings.Repeat("x", 129), 8))
}

// A reason is logged; a state is not, and neither are the names of its members, which may be anybody's.
func TestReasonsNameNothingOfTheState(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]string{
		"a value that is none":      `{"patients":{"hunter2@example.com":tru}}`,
		"an object without its end": `{"hunter2@example.com":1`,
		"text that is not UTF-8":    "{\"hunter2@example.com\":\"\xff\"}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, body := range []string{
				`{"step":1,"node_id":"n","state":` + state + `}`, `{"ops":[{"op":"step","step":1,"node_id":"n","state":` + state + `}]}`,
			} {
				ev := subjects.Decode(logged(body))
				require.Equal(t, CodeNotJSON, ev.Poison.Code) //nolint:testifylint // a code, no JSON.
				require.NotContains(t, ev.Poison.Reason, "hunter2")
			}
			require.NotContains(t, CheckState([]byte(state), MaxDepth).Error(), "hunter2")
		})
	}
}

// seen is ops as Decode has them: it knows how deep states are nested.
func seen(ops []Op) []Op {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Shallow = ops[i].State != nil && Depth(ops[i].State) <= MaxDepthPortable
	}
	return ops
}
