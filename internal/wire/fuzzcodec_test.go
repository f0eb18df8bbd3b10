package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzToken: ids have tokens that NATS takes for one token of a subject, each its own and always the same; a token that spells its id
// gives it back; and what is no id's token says so.
func FuzzToken(f *testing.F) {
	for _, id := range []string{"run-001", "a.b", "*", ">", "%2E", "~abc", "é", "\x00", "", strings.Repeat("x", 129), "~" + strings.Repeat("0", 64), "%2e", "a%", "%4"} {
		f.Add(id, id+".")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		token := Token(a)
		if len(token) > maxToken || a != "" && !alphabet.MatchString(token) || strings.ContainsAny(token, ".*> \t\r\n\x00") || (token == "") != (a == "") {
			t.Fatalf("token %q of %q is none of NATS", token, a)
		}
		if (a == b) != (token == Token(b)) {
			t.Fatalf("ids %q and %q do not have tokens of their own: %q and %q", a, b, token, Token(b))
		}
		switch id, err := DecodeToken(token); {
		case HashedToken(token):
			requirePoison(t, err)
		case err != nil || id != a:
			t.Fatalf("token %q of %q is decoded to %q: %v", token, a, id, err)
		}
		// Any string as a token: it is the one of the id that it spells, or it is refused.
		if id, err := DecodeToken(b); err != nil {
			requirePoison(t, err)
		} else if Token(id) != b {
			t.Fatalf("token %q is taken for %q, whose token is %q", b, id, Token(id))
		}
	})
}

func requirePoison(t *testing.T, err error) {
	t.Helper()
	var p *Poison
	if !errors.As(err, &p) || p.Code == "" || p.Reason == "" {
		t.Fatalf("no reason: %v", err)
	}
}

// FuzzSubject: a subject of the log is taken apart into what makes it, or is poison; the header of a part is spelled in one way.
func FuzzSubject(f *testing.F) {
	for _, s := range []string{"persistd.log.0.default.run.a", "persistd.log.07.d.run.a", "persistd.log.1.d.run", "persistd.log.1.d.run.a.b", "", "persistd.log.-1.a.b.c"} {
		f.Add(s, "t 1 of 2", "t 2 of 2")
	}
	f.Add("persistd.log.9223372036854775808.a.b.c", "t +1 of 2", "t 02 of 2")
	f.Add("persistd.log.0.default.attempt.~x", " 1 of 2", "t 1000 of 1001")
	f.Fuzz(func(t *testing.T, subject, header, next string) {
		if addr, err := subjects.ParseLog(subject); err != nil {
			requirePoison(t, err)
		} else if again := subjects.LogPartition(addr.Partition); strings.TrimSuffix(again, ">")+addr.Namespace+"."+addr.Kind+"."+addr.Token != subject {
			t.Fatalf("subject %q is taken for %+v", subject, addr)
		}
		p, err := PartOf(Header{HeaderPart: {header}})
		switch {
		case err != nil:
			requirePoison(t, err)
			return
		case header != "" && p.String() != header, p.No < 0 || p.No > p.Of || p.Of > MaxParts, (p == Part{}) != (header == ""):
			t.Fatalf("header %q is taken for %+v", header, p)
		}
		q, err := PartOf(Header{HeaderPart: {next}})
		if err == nil && q.Follows(p) && p != (Part{}) && (q.Transaction != p.Transaction || q.Of != p.Of || q.No != p.No+1 || p.Last()) {
			t.Fatalf("%+v follows %+v", q, p)
		}
	})
}

// FuzzJoin: any messages that come as the parts of a transaction make one event, good or poison, and are left as they are.
func FuzzJoin(f *testing.F) {
	const step, event = `{"run_id":"r","ops":[{"op":"step","step":1,"node_id":"n","state":{}}]}`, `{"run_id":"r","attempt":2,"ops":[{"op":"event","event_id":"e","data":1}]}`
	hashed := `{"run_id":"r","content_hash":"` + strings.Repeat("ab", 32) + `","ops":[{"op":"checkpoint_v2","step_id":1,"state":1,"idempotency_key":"k"}]}`
	for _, bodies := range [][2]string{{step, step}, {step, event}, {hashed, step}, {hashed, strings.ReplaceAll(hashed, "ab", "cd")}, {step, "{"}, {step, `{"run_id":"other","ops":[{"op":"delete_run"}]}`}} {
		f.Add([]byte(bodies[0]), []byte(bodies[1]), []byte(step), "persistd.log.1.default.run.r", "persistd.log.1.default.run.r")
	}
	f.Add([]byte(step), []byte(step), []byte(step), "persistd.log.1.default.run.r", "persistd.log.2.default.run.r")
	f.Fuzz(func(t *testing.T, first, second, third []byte, subject, other string) {
		parts := make([]Event, 3)
		var (
			ops      []Op
			poisoned bool
		)
		for i, m := range []Message{{Subject: subject, Body: first}, {Subject: other, Body: second}, {Subject: subject, Body: third}} {
			m.Header, m.Sequence = Header{HeaderPart: {Part{"t", i + 1, 3}.String()}}, uint64(i+1)
			parts[i] = subjects.Decode(m)
			ops, poisoned = append(ops, parts[i].Ops...), poisoned || parts[i].Poison != nil
		}
		before := append([]Event(nil), parts...)
		ev := Join(parts)
		if !reflect.DeepEqual(before, parts) || len(ev.Parts) != 3 || ev.Message.Sequence != 3 || ev.Part != (Part{}) {
			t.Fatalf("parts %+v are not what they were, or not in %+v", before, ev)
		}
		switch {
		case ev.Poison != nil:
			if len(ev.Ops) > 0 || ev.Poison.Code == "" || ev.Poison.Reason == "" {
				t.Fatalf("half poison: %+v", ev)
			}
		case poisoned, subject != other:
			t.Fatalf("joined with a part that does not belong there: %+v", ev)
		case !reflect.DeepEqual(ops, ev.Ops):
			t.Fatalf("joined %+v to %+v", ops, ev.Ops)
		}
	})
}

// FuzzDecompress: what is no zstd frame, or a bomb, is refused; what was compressed comes back.
func FuzzDecompress(f *testing.F) {
	for _, b := range [][]byte{nil, []byte("{}"), Compress([]byte("{}")), Compress(bytes.Repeat([]byte("x"), 1<<16)), Compress(nil)[:2], append(Compress([]byte("a")), Compress([]byte("b"))...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if plain, err := Decompress(b); err != nil {
			requirePoison(t, err)
		} else if len(plain) > MaxBody {
			t.Fatalf("%d bytes became %d, more than is ever to be held", len(b), len(plain))
		}
		if plain, err := Decompress(Compress(b)); err != nil || !bytes.Equal(b, plain) {
			t.Fatalf("what was compressed does not come back: %v", err)
		}
	})
}

// FuzzLatest: a reply about the latest step comes back as it was sent, the state byte for byte, and any other is read or refused.
func FuzzLatest(f *testing.F) {
	f.Add([]byte(`{"found":false}`), "run", int32(1), "node", []byte(`{"a": 1}`), uint64(7), int64(1))
	f.Add([]byte(`{"found":true,"run_id":"r","step":1,"node_id":"","sequence":1,"logged_at":"2001-01-01T00:00:00Z","state":[1 ]}`), "\"", int32(-1), "\u2028", []byte(`null`), uint64(0), int64(0))
	f.Add([]byte(`{"state":`), "", int32(0), "\xff", []byte(`"`), uint64(1<<63), int64(-1))
	f.Fuzz(func(t *testing.T, src []byte, run string, step int32, node string, state []byte, sequence uint64, at int64) {
		if r, err := ParseLatest(src); err == nil && r.Found && !json.Valid(r.State) {
			t.Fatalf("state of a reply is no JSON: %q", r.State)
		}
		if CheckID(run) != nil || CheckNodeID(node) != nil || CheckState(state, MaxDepth) != nil {
			return
		}
		state = bytes.TrimSpace(state)
		want := LatestReply{Found: true, RunID: run, Step: step, NodeID: node, Attempt: uint32(at & MaxAttempt), Sequence: sequence, LoggedAt: time.UnixMicro(at & (1<<52 - 1)).UTC(), State: state}
		b, err := AppendLatest(nil, want)
		require.NoError(t, err)
		got, err := ParseLatest(b)
		require.NoError(t, err, "%s", b)
		require.Equal(t, want, got)
	})
}

// FuzzState: what is taken for a state is JSON as encoding/json has it, in UTF-8, and as deep as is said.
func FuzzState(f *testing.F) {
	for _, s := range []string{"1", "{}", "[[[]]]", `"\ud800"`, "\"\xff\"", "{} {}", "", `{"a":1,"a":2}`, strings.Repeat("[", 101) + strings.Repeat("]", 101), `"\"["`, "\ufeff1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, state []byte) {
		if err := CheckState(state, MaxDepth); err != nil {
			requirePoison(t, err)
			return
		}
		var value any
		if !json.Valid(state) {
			t.Fatalf("no JSON: %q", state)
		}
		dec := json.NewDecoder(bytes.NewReader(state))
		dec.UseNumber()
		require.NoError(t, dec.Decode(&value))
		if d := depthOf(value); d > Depth(state) { // of a name that is there twice, only one value is left
			t.Fatalf("%q is %d deep, not %d", state, d, Depth(state))
		}
		body := append(append([]byte(`{"step":1,"node_id":"n","state":`), state...), '}')
		if ev := subjects.Decode(Message{Subject: "persistd.log.0.default.run.r", Body: body}); ev.Poison != nil || !bytes.Equal(ev.Ops[0].State, bytes.Trim(state, " \t\r\n")) {
			t.Fatalf("the client takes %q, and the daemon says %v", state, ev.Poison)
		}
	})
}

func depthOf(v any) (d int) {
	switch v := v.(type) {
	case map[string]any:
		for _, inner := range v {
			d = max(d, depthOf(inner))
		}
		return d + 1
	case []any:
		for _, inner := range v {
			d = max(d, depthOf(inner))
		}
		return d + 1
	default:
		return 0
	}
}
