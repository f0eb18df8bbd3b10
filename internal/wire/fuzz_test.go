package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzDecode: every message has a meaning, good or poison; what is good is JSON that a database takes, with the bytes that were published,
// and means the same when it is written again, compressed or not. compress is done here, as a fuzzer does not find its way into zstd.
func FuzzDecode(f *testing.F) {
	add := func(m Message) {
		if len(m.Body) < 4<<10 {
			f.Add(m.Subject, m.Header.Get(HeaderEncoding), m.Header.Get(HeaderPart), m.Body, false)
		}
	}
	for _, row := range meanings() {
		add(row.msg)
	}
	for _, row := range poisons() {
		add(row.msg)
	}
	add(compressed([]byte(`{"step":1,"node_id":"start","state":{"n":1}}`)))
	f.Add("persistd.log.5.default.run.a%2Eb", "", "", []byte(`{"run_id":"a.b","ops":[{"op":"step","step":1,"node_id":"","state":[[]]}]}`), false)
	f.Add("persistd.log.5.default.run.r", "", "", []byte(`{"run_id":"r","step":1,"node_id":"n","state":{"a":1}}`), true)
	f.Add("persistd.log.5.default.run.r", "", "t 2 of 3", []byte(`{"run_id":"r","ops":[{"op":"event","event_id":"e","data":[1 ,2]}]}`), true)
	f.Add("persistd.log.x", "gzip", "", []byte(`[`), false)
	f.Fuzz(func(t *testing.T, subject, encoding, part string, body []byte, compress bool) {
		m := Message{Subject: subject, Body: body, Header: Header{HeaderEncoding: {encoding}, HeaderPart: {part}}}
		if compress {
			m.Body, m.Header[HeaderEncoding] = Compress(body), []string{EncodingZstd}
		}
		before := bytes.Clone(m.Body)
		ev := subjects.Decode(m)
		if !bytes.Equal(before, m.Body) || !reflect.DeepEqual(ev.Message, m) {
			t.Fatal("the message is not what it was: a dead letter would be another")
		}
		if ev.Poison != nil {
			if len(ev.Ops) > 0 || ev.Poison.Code == "" || ev.Poison.Reason == "" {
				t.Fatalf("half poison: %+v", ev)
			}
			return
		}
		checkGood(t, &ev)
		if plain, err := plainBody(m); err != nil || !holdsAll(plain, &ev) {
			t.Fatalf("a state is not the bytes that were published: %+v, %v", ev.Ops, err)
		}
		key := keyOf(&ev)
		if key == "" { // it is in the body, and nowhere else
			return
		}
		if want := subjects.Log(ev.Partition, ev.Namespace, ev.Kind, key); want != subject {
			t.Fatalf("event of %q is under %q", want, subject)
		}
		var hash *[32]byte
		if ev.GivenHash {
			hash = &ev.ContentHash
		}
		again := subjects.Decode(Message{
			Subject: subject, Header: Header{HeaderPart: {part}}, Body: AppendEvent(nil, ev.Kind, key, ev.Attempt, hash, ev.Ops),
		})
		again.Message, again.Size = ev.Message, ev.Size
		if !reflect.DeepEqual(ev, again) {
			t.Fatalf("written again is another event:\n%+v\n%+v", ev, again)
		}
		if joined := Join([]Event{ev}); joined.Poison != nil || !reflect.DeepEqual(joined.Ops, ev.Ops) {
			t.Fatalf("does not join: %+v", joined)
		}
	})
}

// holdsAll reports whether the states of ev stand in body as they are.
func holdsAll(body []byte, ev *Event) bool {
	for i := range ev.Ops {
		if !bytes.Contains(body, ev.Ops[i].State) {
			return false
		}
	}
	return true
}

// keyOf is the id that the event is published under; "" when neither its token nor its ops say.
func keyOf(ev *Event) string {
	if ev.Kind != KindCheckpoint {
		return ev.RunID
	}
	if id, err := DecodeToken(ev.Message.Subject[strings.LastIndexByte(ev.Message.Subject, '.')+1:]); err == nil {
		return id
	}
	for _, op := range ev.Ops {
		if strings.HasSuffix(ev.Message.Subject, "."+Token(op.ID)) {
			return op.ID
		}
	}
	return ""
}

func checkGood(t *testing.T, ev *Event) {
	t.Helper()
	if len(ev.Ops) == 0 || len(ev.Ops) > MaxOps || ev.Attempt > MaxAttempt || (ev.RunID == "") != (ev.Kind == KindCheckpoint) {
		t.Fatalf("bad event: %+v", ev)
	}
	if ev.RunID != "" && CheckID(ev.RunID) != nil {
		t.Fatalf("bad id %q", ev.RunID)
	}
	for i := range ev.Ops {
		op := &ev.Ops[i]
		texts := [][]byte{op.State}
		ok := op.V2 == nil
		switch op.Type {
		case OpStep:
			ok = ok && ev.Kind == KindRun && CheckNodeID(op.NodeID) == nil && op.ID == ""
		case OpCheckpoint:
			ok = ok && ev.Kind != KindAttempt && CheckID(op.ID) == nil
		case OpCheckpointV2:
			v2 := op.V2
			ok = ev.Kind == KindRun && v2 != nil && CheckLabel(v2.Label) == nil && CheckKey(v2.Key) == nil && CheckTimestamp(v2.Timestamp) == nil
			if ok {
				texts = append(texts, v2.Frontier, v2.RecordedIOs)
			}
		case OpOutbox:
			ok = ok && ev.Kind == KindRun && CheckID(op.ID) == nil
		case OpDeleteRun:
			ok, texts = ok && ev.Kind == KindRun && op.State == nil, nil
		case OpAttempt:
			ok, texts = ok && ev.Kind == KindAttempt && len(ev.Ops) == 1 && ev.Attempt > 0, nil
		default:
			ok = false
		}
		if !ok {
			t.Fatalf("bad op of a %s: %+v", ev.Kind, op)
		}
		for _, text := range texts {
			if err := CheckState(text, MaxDepth); err != nil || !json.Valid(text) {
				t.Fatalf("bad JSON %s: %v", text, err)
			}
		}
	}
}
