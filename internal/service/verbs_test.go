package service_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// small is a history with one or two of each.
func small(d *data) {
	d.step = &wire.StepRecord{Step: 3, NodeID: "n", Sequence: 8, SavedAt: created, State: []byte(`1`)}
	d.history.steps = []wire.StepRecord{
		{Step: 1, NodeID: "a<b", Sequence: 7, SavedAt: created, State: []byte(`{"x": "<&>"}`)},
		{Step: 2, NodeID: "n", Attempt: 2, Sequence: 8, SavedAt: created, State: []byte(`2`)},
	}
	d.history.v2 = []wire.V2Record{{
		StepID: 5, Label: "l", RNGSeed: 9007199254740993, IdempotencyKey: "k", Timestamp: created, Attempt: 1, Sequence: 8, SavedAt: created,
		State: []byte(`{}`), Frontier: []byte(`[1]`), RecordedIOs: []byte(`null`),
	}, {StepID: 6, Timestamp: created, SavedAt: created, State: []byte(`{}`), Frontier: []byte(`null`), RecordedIOs: []byte(`null`)}}
	d.history.runs = []wire.RunRecord{{RunID: "run/1", Attempt: 2, LastStep: 3, NodeID: "n", UpdatedAt: created}, {RunID: "run/2", UpdatedAt: created}}
	d.history.keys = []readpath.Key{{Key: "used"}}
	d.history.events = []wire.OutboxRecord{{EventID: "e1", RunID: "run/1", SavedAt: created, Data: []byte(`{"msg":"x"}`)}, {EventID: "e2", RunID: "run/1", SavedAt: created, Data: []byte(`{}`)}}
}

func TestVerbsAnswerAsDocumented(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	r.data.set(small)
	const at = `"2001-02-03T04:05:06.000000007Z"`
	v2 := `{"step_id":5,"label":"l","rng_seed":9007199254740993,"idempotency_key":"k","timestamp":` + at +
		`,"attempt":1,"sequence":8,"saved_at":` + at + `,"state":{},"frontier":[1],"recorded_ios":null}`
	one := `{"step":1,"node_id":"a<b","sequence":7,"saved_at":` + at + `,"state":{"x":"<&>"}}`
	two := `{"step":2,"node_id":"n","attempt":2,"sequence":8,"saved_at":` + at + `,"state":2}`
	run2 := `{"run_id":"run/2","last_step":0,"node_id":"","updated_at":` + at + `}`
	e1 := `{"event_id":"e1","run_id":"run/1","saved_at":` + at + `,"data":{"msg":"x"}}`
	for _, row := range []struct{ verb, request, want string }{
		{"checkpoint", `{"checkpoint_id":"c"}`, `{"checkpoint":{"step":3,"sequence":8,"saved_at":` + at + `,"state":{"a":1}}}`},
		{"checkpoint", `{"checkpoint_id":"missing"}`, `{"checkpoint":null}`},
		{"checkpoint_v2", `{"run_id":"run/1","step_id":5}`, `{"checkpoint":` + v2 + `}`},
		{"checkpoints_v2", `{"run_id":"run/1","from":1,"limit":1}`, `{"checkpoints":[` + v2 + `],"next":6}`},
		{"checkpoints_v2", `{"run_id":"run/1","from":7}`, `{"checkpoints":[]}`},
		{"idempotency", `{"key":"used"}`, `{"used":true}`},
		{"idempotency", `{"key":"free"}`, `{"used":false}`},
		{"idempotency", `{}`, `{"used":false}`},
		{"runs", `{"prefix":"run/","after":"run/1"}`, `{"runs":[` + run2 + `]}`},
		{"runs", `{"limit":1}`, `{"runs":[{"run_id":"run/1","attempt":2,"last_step":3,"node_id":"n","updated_at":` + at + `}],"next":"run/1"}`},
		{"runs", `{"prefix":"x"}`, `{"runs":[]}`},
		{"attempt", `{"run_id":"run/1"}`, fmt.Sprintf(`{"attempt":4,"sequence":9,"subject":"persistd.log.%d.default.attempt.run%%2F1"}`, home)},
		{"steps", `{"run_id":"run/1","from":-5}`, `{"steps":[` + one + `,` + two + `]}`},
		{"steps", `{"run_id":"run/1","from":0,"limit":1}`, `{"steps":[` + one + `],"next":2}`},
		{"steps", `{"run_id":"run/1","from":3}`, `{"steps":[]}`},
		{"watch", `{"run_id":"run/1","from":0}`, `{"steps":[` + one + `,` + two + `],"cursor":"1.8.2"}`},
		{"watch", `{"run_id":"run/1","from":0,"cursor":"1.7.1","wait_ms":5000}`, `{"steps":[` + two + `],"cursor":"1.8.2"}`},
		{"watch", `{"run_id":"run/1","from":0,"cursor":"1.8.2","wait_ms":-1}`, `{"steps":[],"cursor":"1.8.2"}`},
		{"watch", `{"run_id":"run/1","from":3}`, `{"steps":[],"cursor":"0.0.-2147483648"}`},
		{"events", `{"limit":1,"lease_ms":1000,"holder":"h"}`, `{"events":[` + e1 + `]}`},
		{"emitted", `{"event_ids":["e1","e2","e3",""]}`, `{"marked":2}`},
		{"events", `{"limit":1,"lease_ms":1000,"holder":"h"}`, `{"events":[]}`},
		{"emitted", `{}`, `{"marked":0}`},
	} {
		m := ask(t, nc, row.verb, row.request)
		require.Empty(t, m.Header, row.verb)
		require.Equal(t, row.want, string(m.Data), "%s %s", row.verb, row.request)
	}
	r.data.set(func(d *data) { d.history = history{} })
	require.Equal(t, `{"checkpoint":null}`, string(ask(t, nc, "checkpoint_v2", `{"run_id":"run/1","label":"l"}`).Data))
	require.Equal(t, wire.V2Request{RunID: "run/1", Label: "l"}, r.data.history.asked)
	ask(t, nc, "runs", `{"updated_since":"2001-02-03T04:05:06.000000007Z","limit":5000}`)
	require.Equal(t, wire.RunsRequest{UpdatedSince: created, Limit: 1000}, r.data.history.asked)

	n, err := testutil.GatherAndCount(r.reg, "persistd_request_duration_seconds")
	require.NoError(t, err)
	require.Equal(t, 10, n, "one for each verb that was asked, none for an error")
}

func TestRequestOutOfBoundsSaysWhatToDo(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	r.data.set(small)
	many := strings.Repeat(`"e",`, 1000) + `"e"`
	hash := strings.Repeat("ab", 32)
	for _, row := range []struct{ verb, request, want string }{
		{"checkpoint", `{}`, "load checkpoint: id is empty: give it at least one character"},
		{"checkpoint", `[]`, `(it reads {"checkpoint_id":"…"})`},
		{"checkpoint_v2", `{"run_id":""}`, "id is empty"},
		{"checkpoint_v2", `{"run_id":"x","step_id":1,"label":"l"}`, "step_id and label are both given: give one of them, or neither for the highest step"},
		{"checkpoint_v2", `{"run_id":"x","label":"l "}`, "label ends in a space"},
		{"checkpoint_v2", `{"run_id":"x","step_id":2147483648}`, "decode request"},
		{"checkpoints_v2", `{"run_id":"x","limit":-1}`, "limit is -1: give 1 or more, or leave it out for as many as fit"},
		{"checkpoints_v2", `{"run_id":"x "}`, "id ends in a space"},
		{"idempotency", `{"key":"k "}`, "idempotency_key ends in a space"},
		{"idempotency", `{"key":5}`, `(it reads {"key":"…"})`},
		{"runs", `{"limit":-1}`, "limit is -1"},
		{"runs", `{"updated_since":"yesterday"}`, "decode request"},
		{"attempt", `{}`, "id is empty"},
		{"steps", `{"run_id":"x","limit":-3}`, "limit is -3"},
		{"steps", `{"from":1}`, "id is empty"},
		{"watch", `{"run_id":"x","cursor":"5"}`, `cursor "5" is not one that a reply gave: begin again without`},
		{"watch", `{"run_id":""}`, "watch: id is empty"},
		{"events", `{}`, "limit is 0: lease from 1 to 1000 events"},
		{"events", `{"limit":1001,"lease_ms":1000,"holder":"h"}`, "limit is 1001"},
		{"events", `{"limit":1,"holder":"h"}`, "lease_ms is 0: lease for 1 to 86400000 milliseconds, longer than emitting the events takes"},
		{"events", `{"limit":1,"lease_ms":86400001,"holder":"h"}`, "lease_ms is 86400001"},
		{"events", `{"limit":1,"lease_ms":1000}`, "holder: id is empty"},
		{"emitted", `{"event_ids":[` + many + `]}`, "event_ids holds 1001 ids, more than 1000: mark the rest with another request"},
		{"committed", `{"run_id":"x","checkpoint_id":"y","sequence":1}`, "run_id and checkpoint_id are both given"},
		{"committed", `{"checkpoint_id":"y ","sequence":1}`, "id ends in a space"},
		{"committed", `{"run_id":"x","sequence":1,"keys":["a"]}`, "content_hash is not 64 hex digits: with keys, give the event's"},
		{"committed", `{"run_id":"x","sequence":1,"keys":["a"],"content_hash":"` + hash + `0"}`, "content_hash is not 64 hex digits"},
		{"committed", `{"run_id":"x","sequence":1,"keys":["a","a "],"content_hash":"` + hash + `"}`, "keys: idempotency_key ends in a space"},
		{"committed", `{"run_id":"x","sequence":1,"keys":[""],"content_hash":"` + hash + `"}`, "keys holds the empty one, which is none"},
	} {
		require.Contains(t, refused(t, ask(t, nc, row.verb, row.request), wire.StatusBadRequest), row.want, "%s %s", row.verb, row.request)
	}
	require.Nil(t, r.data.history.asked, "nobody was asked")
}

func TestVerbsOfANamespaceThatIsNotKept(t *testing.T) {
	t.Parallel()
	_, nc := serve(t)
	for verb, body := range map[string]string{
		"checkpoint": `{"checkpoint_id":"x"}`, "checkpoint_v2": `{"run_id":"x"}`, "checkpoints_v2": `{"run_id":"x"}`, "idempotency": `{"key":"x"}`,
		"runs": `{}`, "attempt": `{"run_id":"x"}`, "steps": `{"run_id":"x"}`, "watch": `{"run_id":"x"}`,
		"events": `{"limit":1,"lease_ms":1,"holder":"h"}`, "emitted": `{"event_ids":["x"]}`,
	} {
		m := request(verb, body)
		m.Subject = "persistd.read.other." + verb
		m, err := nc.RequestMsg(m, 20*time.Second)
		require.NoError(t, err)
		require.Contains(t, refused(t, m, wire.StatusNotFound), `unknown namespace "other"`, verb)
	}
}

func TestVerbsSayThatMySQLIsAway(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	r.data.set(func(d *data) { d.err = errors.New("away") })
	for verb, row := range map[string]struct{ body, want string }{
		"checkpoint":     {`{"checkpoint_id":"x"}`, "load checkpoint: read row: away"},
		"checkpoint_v2":  {`{"run_id":"x"}`, "away"},
		"checkpoints_v2": {`{"run_id":"x"}`, "away"},
		"idempotency":    {`{"key":"x"}`, "away"},
		"runs":           {`{}`, "away"},
		"attempt":        {`{"run_id":"x"}`, "away"},
		"steps":          {`{"run_id":"x"}`, "read end of the log: away"},
		"watch":          {`{"run_id":"x"}`, "watch: read end of the log: away"},
		"events":         {`{"limit":1,"lease_ms":1,"holder":"h"}`, "away"},
		"emitted":        {`{"event_ids":["x"]}`, "away"},
	} {
		require.Equal(t, row.want, refused(t, ask(t, nc, verb, row.body), wire.StatusUnavailable), verb)
	}
}

func TestCommittedOfAnEventWithKeysSaysWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	r, nc := serve(t)
	r.data.set(func(d *data) {
		d.position = 12
		d.history.keys = []readpath.Key{{Key: "mine", ContentHash: [32]byte{0xab}, Sequence: 10}, {Key: "same", ContentHash: [32]byte{0xab}, Sequence: 5}, {Key: "taken", ContentHash: [32]byte{1}, Sequence: 5}}
	})
	hash := "ab" + strings.Repeat("00", 31)
	for keys, want := range map[string]string{
		`"mine"`:         `{"committed":true}`,
		`"mine","other"`: `{"committed":true}`,
		`"same"`:         `{"committed":true}`,
		`"taken"`:        `{"committed":false,"rejected":{"code":"duplicate","reason":"idempotency key \"taken\" was used before, with other content"}}`,
		`"gone"`:         `{"committed":false,"rejected":{"code":"key_expired","reason":"the idempotency keys are no longer kept: what became of the event cannot be told any more"}}`,
	} {
		m := ask(t, nc, "committed", `{"run_id":"run/1","sequence":10,"wait_ms":5000,"keys":[`+keys+`],"content_hash":"`+hash+`"}`)
		require.JSONEq(t, want, string(m.Data), keys)
	}
	require.Equal(t, `{"committed":true}`, string(ask(t, nc, "committed", `{"checkpoint_id":"run/1","sequence":10,"wait_ms":5000}`).Data))
}
