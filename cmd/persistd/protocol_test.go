package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	yes  = `{"committed":true}`
	hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

func TestAProgramThatOnlyReadTheProtocolWritesAndReadsEverything(t *testing.T) {
	t.Parallel()
	s := &stranger{stack: sharedStack(t)}
	s.serveHere(hooks{})

	s.write("run.run-001", `{"step":1,"node_id":"start","state":{"n":1}}`)
	seq := s.write("run.run-001", `{"run_id":"run-001","step":3,"node_id":"fetch","state":{"n":1}}`)
	s.committed(`"run_id":"run-001"`, seq, "", yes)
	s.ask("latest", `{"run_id":"run-001"}`, `{"found":true,"run_id":"run-001","step":3,"node_id":"fetch","sequence":true,"logged_at":"T","state":{"n":1}}`)
	s.ask("latest", `{"run_id":"nobody"}`, `{"found":false}`)
	s.ask("steps", `{"run_id":"run-001","from":0,"limit":1}`,
		`{"steps":[{"step":1,"node_id":"start","sequence":true,"saved_at":"T","state":{"n":1}}],"next":2}`)
	s.ask("steps", `{"run_id":"run-001","from":3,"limit":1}`,
		`{"steps":[{"step":3,"node_id":"fetch","sequence":true,"saved_at":"T","state":{"n":1}}],"next":4}`)
	s.ask("steps", `{"run_id":"run-001","from":4,"limit":1}`, `{"steps":[]}`)

	// watch
	page := s.ask("watch", `{"run_id":"run-001","from":0,"cursor":"","wait_ms":5000}`, "")
	require.Len(t, page["steps"], 2)
	require.Equal(t, fmt.Sprintf("1.%d.3", seq), page["cursor"])
	page = s.ask("watch", fmt.Sprintf(`{"run_id":"run-001","from":0,"cursor":%q,"wait_ms":50}`, page["cursor"]), "")
	require.Empty(t, page["steps"])

	// several writes
	seq = s.write("run.run-001", `{"run_id":"run-001","ops":[
	  {"op":"step","step":4,"node_id":"fetch","state":{}},
	  {"op":"checkpoint","checkpoint_id":"beside","step":4,"state":{"b":1}},
	  {"op":"checkpoint_v2","step_id":3,"state":{},"frontier":["think"],"recorded_ios":[],"rng_seed":42,"label":"fetched"},
	  {"op":"event","event_id":"run-001/3/paid","data":{"Msg":"paid","Meta":{"amount":12}}}
	]}`)
	s.committed(`"run_id":"run-001"`, seq, "", yes)
	v2 := `{"step_id":3,"label":"fetched","rng_seed":42,"timestamp":"TS","sequence":true,"saved_at":"T","state":{},"frontier":["think"],"recorded_ios":[]}`
	for _, q := range []string{`,"step_id":3`, `,"label":"fetched"`, ``} {
		got := s.ask("checkpoint_v2", `{"run_id":"run-001"`+q+`}`, "")
		cp := got["checkpoint"].(map[string]any)
		_, err := time.Parse(time.RFC3339Nano, cp["timestamp"].(string))
		require.NoError(t, err)
		cp["timestamp"] = "TS"
		text, err := json.Marshal(cp)
		require.NoError(t, err)
		require.JSONEq(t, v2, string(masked(t, text)))
	}
	s.ask("checkpoint_v2", `{"run_id":"run-001","step_id":9}`, `{"checkpoint":null}`)
	require.Len(t, s.ask("checkpoints_v2", `{"run_id":"run-001","from":0,"limit":100}`, "")["checkpoints"], 1)
	s.ask("checkpoints_v2", `{"run_id":"nobody","from":0,"limit":100}`, `{"checkpoints":[]}`)
	s.ask("checkpoint", `{"checkpoint_id":"beside"}`, `{"checkpoint":{"step":4,"sequence":true,"saved_at":"T","state":{"b":1}}}`)

	// named checkpoints
	s.write("checkpoint.nightly", `{"checkpoint_id":"nightly","step":3,"state":{"n":1}}`)
	s.ask("checkpoint", `{"checkpoint_id":"nightly"}`, `{"checkpoint":{"step":3,"sequence":true,"saved_at":"T","state":{"n":1}}}`)
	seq = s.write("checkpoint.a", `{"checkpoint_id":"a","ops":[{"op":"checkpoint","checkpoint_id":"a","step":1,"state":1},{"op":"checkpoint","checkpoint_id":"b","step":2,"state":2}]}`)
	s.committed(`"checkpoint_id":"a"`, seq, "", yes)
	s.ask("checkpoint", `{"checkpoint_id":"b"}`, `{"checkpoint":{"step":2,"sequence":true,"saved_at":"T","state":2}}`)
	s.write("checkpoint.short", `{"step":5,"state":null}`)
	s.ask("checkpoint", `{"checkpoint_id":"short"}`, `{"checkpoint":{"step":5,"sequence":true,"saved_at":"T","state":null}}`)
	s.ask("checkpoint", `{"checkpoint_id":"none"}`, `{"checkpoint":null}`)

	s.outbox()
	s.keys()
	s.parts()
	s.batch()
	s.attempts()

	s.ask("runs", `{"prefix":"run-001","updated_since":"2026-01-01T00:00:00Z","after":"","limit":100}`,
		`{"runs":[{"run_id":"run-001","last_step":4,"node_id":"fetch","updated_at":"T"}]}`)
	s.ask("runs", `{"prefix":"run-a"}`, `{"runs":[{"run_id":"run-a","attempt":2,"last_step":2,"node_id":"n","updated_at":"T"}]}`)
	seq = s.write("run.run-001", `{"run_id":"run-001","ops":[{"op":"delete_run"}]}`)
	s.committed(`"run_id":"run-001"`, seq, "", yes)
	s.ask("latest", `{"run_id":"run-001"}`, `{"found":false}`)
	s.ask("checkpoint", `{"checkpoint_id":"beside"}`, `{"checkpoint":{"step":4,"sequence":true,"saved_at":"T","state":{"b":1}}}`)
}

func (s *stranger) outbox() {
	s.t.Helper()
	s.ask("events", `{"limit":100,"lease_ms":30000,"holder":"mailer-1"}`,
		`{"events":[{"event_id":"run-001/3/paid","run_id":"run-001","saved_at":"T","data":{"Msg":"paid","Meta":{"amount":12}}}]}`)
	s.ask("events", `{"limit":100,"lease_ms":30000,"holder":"mailer-2"}`, `{"events":[]}`)
	s.ask("emitted", `{"event_ids":["run-001/3/paid","nobody"]}`, `{"marked":1}`)
	s.ask("emitted", `{"event_ids":["run-001/3/paid"]}`, `{"marked":0}`)
}

func (s *stranger) keys() {
	s.t.Helper()
	save := func(state, hash string) uint64 {
		return s.write("run.run-k", `{"run_id":"run-k","content_hash":"`+hash+
			`","ops":[{"op":"checkpoint_v2","step_id":3,"state":`+state+`,"idempotency_key":"k-3"}]}`)
	}
	told := func(seq uint64, hash, want string) {
		s.t.Helper()
		s.committed(`"run_id":"run-k"`, seq, `,"keys":["k-3"],"content_hash":"`+hash+`"`, want)
	}
	s.ask("idempotency", `{"key":"k-3"}`, `{"used":false}`)
	told(save(`{"n":1}`, hash), hash, yes)
	told(save(`{"n":1}`, hash), hash, yes)
	other := strings.Repeat("ab", 32)
	seq := save(`{"n":2}`, other)
	got := s.decided(fmt.Sprintf(`{"run_id":"run-k","sequence":%d,"wait_ms":5000,"keys":["k-3"],"content_hash":%q}`, seq, other), "")
	require.Equal(s.t, "duplicate", got["rejected"].(map[string]any)["code"])
	s.ask("idempotency", `{"key":"k-3"}`, `{"used":true}`)
	require.Empty(s.t, s.deadLetters())
}

func (s *stranger) parts() {
	s.t.Helper()
	for i, state := range []string{"1", "2", "3"} {
		headers := []string{
			fmt.Sprintf("Persistd-Part:tx1 %d of 3", i+1), "Nats-Batch-Id:b1", fmt.Sprintf("Nats-Batch-Sequence:%d", i+1),
			fmt.Sprintf("Nats-Msg-Id:part-%d", i),
		}
		if i == 2 {
			headers = append(headers, "Nats-Batch-Commit:1")
		}
		reply := s.req("persistd.write.default.run.run-p", fmt.Sprintf(`{"run_id":"run-p","ops":[{"op":"step","step":%d,"node_id":"n","state":%s}]}`, i, state), headers...)
		if i < 2 {
			require.Empty(s.t, reply.Data)
			continue
		}
		var ack strangersAck
		require.NoError(s.t, json.Unmarshal(reply.Data, &ack))
		require.Equal(s.t, 3, ack.Count)
		s.committed(`"run_id":"run-p"`, ack.Seq, "", yes)
	}
	s.ask("latest", `{"run_id":"run-p"}`, `{"found":true,"run_id":"run-p","step":2,"node_id":"n","sequence":true,"logged_at":"T","state":3}`)
	again := s.answer("run.run-p", `{"run_id":"run-p","ops":[{"op":"step","step":0,"node_id":"n","state":1}]}`)
	require.NotZero(s.t, again.Seq)
}

// batch is two events that have nothing to do with each other, twice.
func (s *stranger) batch() {
	s.t.Helper()
	send := func(id string) (ack strangersAck) {
		s.req("persistd.write.default.run.run-b", `{"run_id":"run-b","step":1,"node_id":"n","state":1}`, "Nats-Msg-Id:batched-1", "Nats-Batch-Id:"+id, "Nats-Batch-Sequence:1")
		reply := s.req("persistd.write.default.run.run-c", `{"run_id":"run-c","step":1,"node_id":"n","state":1}`,
			"Nats-Msg-Id:batched-2", "Nats-Batch-Id:"+id, "Nats-Batch-Sequence:2", "Nats-Batch-Commit:1")
		require.NoError(s.t, json.Unmarshal(reply.Data, &ack))
		return ack
	}
	require.Equal(s.t, 2, send("m1").Count)
	require.Equal(s.t, 10201, send("m2").Error.ErrCode)
}

func (s *stranger) attempts() {
	s.t.Helper()
	subject := ""
	look := func(attempt int, sequence uint64) {
		s.t.Helper()
		got := s.ask("attempt", `{"run_id":"run-a"}`, "")
		require.EqualValues(s.t, attempt, got["attempt"])
		require.EqualValues(s.t, sequence, got["sequence"])
		subject = got["subject"].(string)
	}
	fence := func(at uint64) []string {
		return []string{fmt.Sprintf("Nats-Expected-Last-Subject-Sequence:%d", at), "Nats-Expected-Last-Subject-Sequence-Subject:" + subject}
	}
	look(0, 0)
	first := s.write("attempt.run-a", `{"run_id":"run-a","attempt":1}`, fence(0)...)
	require.Equal(s.t, 10071, s.answer("attempt.run-a", `{"run_id":"run-a","attempt":1}`, fence(0)...).Error.ErrCode)
	s.committed(`"run_id":"run-a"`, first, "", yes)
	s.write("run.run-a", `{"run_id":"run-a","attempt":1,"step":1,"node_id":"n","state":{}}`, fence(first)...)
	look(1, first)
	second := s.write("attempt.run-a", `{"run_id":"run-a","attempt":2}`, fence(first)...)
	require.Equal(s.t, 10071, s.answer("run.run-a", `{"run_id":"run-a","attempt":1,"step":9,"node_id":"n","state":{}}`, fence(first)...).Error.ErrCode)
	s.committed(`"run_id":"run-a"`, second, "", yes)
	look(2, second)
	seq := s.write("run.run-a", `{"run_id":"run-a","attempt":2,"step":2,"node_id":"n","state":{}}`, fence(second)...)
	s.committed(`"run_id":"run-a"`, seq, "", yes)

	// Without a fence the commit refuses it.
	stale := s.write("run.run-a", `{"run_id":"run-a","attempt":1,"step":9,"node_id":"n","state":{}}`)
	got := s.decided(fmt.Sprintf(`{"run_id":"run-a","sequence":%d,"wait_ms":5000}`, stale), "")
	require.Equal(s.t, "stale_attempt", got["rejected"].(map[string]any)["code"])
	letters := s.deadLetters()
	require.Len(s.t, letters, 1)
	require.Equal(s.t, "stale_attempt", letters[0].Header.Get("Persistd-Code"))
	s.ask("latest", `{"run_id":"run-a"}`, `{"found":true,"run_id":"run-a","step":2,"node_id":"n","attempt":2,"sequence":true,"logged_at":"T","state":{}}`)
}
