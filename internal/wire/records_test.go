package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The members of requests and replies, as docs/protocol.md has them.
func TestRequestsAndRepliesHaveTheDocumentedMembers(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	const when = `"2026-01-02T03:04:05.678901Z"`
	three := int32(3)
	state := json.RawMessage(`{"a":"<&>\u2028","n":1.0,"n":9007199254740993}`)
	tests := []struct {
		name string
		v    any
		want string
	}{
		{"a checkpoint is asked for", CheckpointRequest{CheckpointID: "c"}, `{"checkpoint_id":"c"}`},
		{"a checkpoint", CheckpointReply{&CheckpointRecord{Step: 3, Sequence: 8, SavedAt: at, State: state}}, `{"checkpoint":{"step":3,"sequence":8,"saved_at":` + when + `,"state":` + string(state) + `}}`},
		{"no checkpoint", CheckpointReply{}, `{"checkpoint":null}`},
		{"the highest V2 checkpoint is asked for", V2Request{RunID: "r"}, `{"run_id":"r"}`},
		{"a V2 checkpoint is asked for", V2Request{RunID: "r", StepID: new(int32)}, `{"run_id":"r","step_id":0}`},
		{"a label is asked for", V2Request{RunID: "r", Label: "l"}, `{"run_id":"r","label":"l"}`},
		{
			"a V2 checkpoint",
			V2Reply{&V2Record{
				StepID: 3, Label: "l", RNGSeed: -9223372036854775808, IdempotencyKey: "k", Timestamp: at, Attempt: 2, Sequence: 8, SavedAt: at,
				State: state, Frontier: json.RawMessage("[1]"), RecordedIOs: json.RawMessage("null"),
			}},
			`{"checkpoint":{"step_id":3,"label":"l","rng_seed":-9223372036854775808,"idempotency_key":"k","timestamp":` + when + `,"attempt":2,"sequence":8,"saved_at":` + when +
				`,"state":` + string(state) + `,"frontier":[1],"recorded_ios":null}}`,
		},
		{"V2 checkpoints are asked for", V2ListRequest{RunID: "r", From: -1, Limit: 2}, `{"run_id":"r","from":-1,"limit":2}`},
		{"no V2 checkpoints", V2ListReply{}, `{"checkpoints":[]}`},
		{"a key is asked for", IdempotencyRequest{Key: "k"}, `{"key":"k"}`},
		{"a key that was not used", IdempotencyReply{}, `{"used":false}`},
		{"steps are asked for", StepsRequest{RunID: "r"}, `{"run_id":"r","from":0}`},
		{
			"a page of steps",
			StepsReply{Steps: []StepRecord{{Step: 2, NodeID: "n", Attempt: 1, Sequence: 8, SavedAt: at, State: state}}, Next: &three},
			`{"steps":[{"step":2,"node_id":"n","attempt":1,"sequence":8,"saved_at":` + when + `,"state":` + string(state) + `}],"next":3}`,
		},
		{"no steps", StepsReply{}, `{"steps":[]}`},
		{"a watch begins", WatchRequest{RunID: "r", WaitMS: 5000}, `{"run_id":"r","from":0,"wait_ms":5000}`},
		{"nothing to be seen yet", WatchReply{Cursor: "1.8.3"}, `{"steps":[],"cursor":"1.8.3"}`},
		{"runs are asked for", RunsRequest{}, `{}`},
		{"some runs are asked for", RunsRequest{Prefix: "p", UpdatedSince: at, After: "p1", Limit: 9}, `{"prefix":"p","updated_since":` + when + `,"after":"p1","limit":9}`},
		{
			"a page of runs",
			RunsReply{Runs: []RunRecord{{RunID: "p2", Attempt: 1, LastStep: 3, NodeID: "n", UpdatedAt: at}}, Next: "p2"},
			`{"runs":[{"run_id":"p2","attempt":1,"last_step":3,"node_id":"n","updated_at":` + when + `}],"next":"p2"}`,
		},
		{"an empty page of runs", RunsReply{Next: "p3"}, `{"runs":[],"next":"p3"}`},
		{"an attempt is asked for", AttemptRequest{RunID: "r"}, `{"run_id":"r"}`},
		{"an attempt", AttemptReply{Attempt: 2, Sequence: 8, Subject: "s"}, `{"attempt":2,"sequence":8,"subject":"s"}`},
		{"no attempt", AttemptReply{Subject: "s"}, `{"attempt":0,"sequence":0,"subject":"s"}`},
		{"events are asked for", EventsRequest{Limit: 1, LeaseMS: 30000, Holder: "h"}, `{"limit":1,"lease_ms":30000,"holder":"h"}`},
		{
			"events",
			EventsReply{[]OutboxRecord{{EventID: "e", RunID: "r", SavedAt: at, Data: state}}},
			`{"events":[{"event_id":"e","run_id":"r","saved_at":` + when + `,"data":` + string(state) + `}]}`,
		},
		{"no events", EventsReply{}, `{"events":[]}`},
		{"events were emitted", EmittedRequest{[]string{"e", "f"}}, `{"event_ids":["e","f"]}`},
		{"events are marked", EmittedReply{1}, `{"marked":1}`},
		{"a commit is asked for", CommittedRequest{RunID: "r", Stream: "S", Sequence: 8, WaitMS: 5000}, `{"run_id":"r","stream":"S","sequence":8,"wait_ms":5000}`},
		{
			"a commit with keys is asked for",
			CommittedRequest{CheckpointID: "c", Sequence: 8, Keys: []string{"k"}, ContentHash: digits},
			`{"checkpoint_id":"c","sequence":8,"wait_ms":0,"keys":["k"],"content_hash":"` + digits + `"}`,
		},
		{"a commit", CommittedReply{Committed: true}, `{"committed":true}`},
		{"no commit yet", CommittedReply{}, `{"committed":false}`},
		{"a rejection", CommittedReply{Rejected: &Rejection{Code: RejectedDuplicate, Reason: "why"}}, `{"committed":false,"rejected":{"code":"duplicate","reason":"why"}}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := Marshal(test.v)
			require.NoError(t, err)
			require.Equal(t, test.want, string(got))
		})
	}
}

func TestMarshalLeavesItsArgumentAlone(t *testing.T) {
	t.Parallel()
	reply := StepsReply{}
	_, err := Marshal(reply)
	require.NoError(t, err)
	require.Nil(t, reply.Steps)
	_, err = Marshal(StepsReply{Steps: []StepRecord{{State: json.RawMessage("{")}}})
	require.ErrorContains(t, err, "encode: ")
}

// Members of a later version are passed over, and the state is what was sent.
func TestParseLatestReadsWhatAppendLatestWrites(t *testing.T) {
	t.Parallel()
	want := LatestReply{
		Found: true, RunID: "r\u2028\"", Step: -3, NodeID: "<n>", Attempt: 2, Sequence: 1 << 63, LoggedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		State: []byte(` {"a" : 1.0,"a":"\u00fc"} `),
	}
	body, err := AppendLatest([]byte("x"), want)
	require.NoError(t, err)
	later := strings.Replace(string(body[1:]), `{`, `{"later":{"state":[1]},"\u0066ound":true,`, 1)
	want.State = []byte(strings.TrimSpace(string(want.State)))
	for _, src := range []string{string(body[1:]), later} {
		got, err := ParseLatest([]byte(src))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	body, err = AppendLatest(nil, LatestReply{RunID: "r"})
	require.NoError(t, err)
	require.Equal(t, `{"found":false}`, string(body))
	got, err := ParseLatest(body)
	require.NoError(t, err)
	require.Zero(t, got)
	for _, bad := range []string{``, `[]`, `{"found":1}`, `{"step":2147483648}`, `{"found":true`, `{"state":}`} {
		_, err := ParseLatest([]byte(bad))
		require.ErrorContains(t, err, "decode reply: ", bad)
	}
}
