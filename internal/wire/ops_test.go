package wire

import (
	"encoding/hex"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// under is a message with body, under the key id of kind.
func under(kind, id, body string) Message {
	return Message{Subject: subjects.Log(5, "default", kind, id), Body: []byte(body), Sequence: 7}
}

// part is m as a part of a transaction.
func part(header string, m Message) Message {
	m.Header = Header{HeaderPart: {header}}
	return m
}

var (
	longID  = strings.Repeat("ü", 200) // whose token is a hash
	digits  = strings.Repeat("0123456789abcdef", 4)
	someSum = func() [32]byte { b, _ := hex.DecodeString(digits); return [32]byte(b) }()
)

// meaning is what a good message must come to.
type meaning struct {
	name string
	msg  Message
	// attempt, keys and hash are compared, and the run with that of the subject.
	attempt uint32
	ops     []Op
	keys    []string
	hash    *[32]byte // given
}

func meanings() []meaning {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	run := func(body string) Message { return under(KindRun, "run-001", body) }
	v2 := func(step int32, state string, v V2) Op {
		if v.Frontier == nil {
			v.Frontier = []byte("null")
		}
		if v.RecordedIOs == nil {
			v.RecordedIOs = []byte("null")
		}
		return Op{Type: OpCheckpointV2, Step: step, State: []byte(state), V2: &v}
	}
	named := func(id string, step int32, state string) Op {
		return Op{Type: OpCheckpoint, ID: id, Step: step, State: []byte(state)}
	}
	timed := func(s string) Message {
		return run(`{"ops":[{"op":"checkpoint_v2","step_id":0,"state":0,"timestamp":"` + s + `"}]}`)
	}
	return []meaning{
		{name: "a step of an attempt", msg: run(`{"step":1,"node_id":"n","state":{},"attempt":2}`), attempt: 2, ops: []Op{{Type: OpStep, Step: 1, NodeID: "n", State: []byte("{}")}}},
		{name: "the last attempt there can be", msg: run(`{"attempt":2147483647,"ops":[{"op":"delete_run"}]}`), attempt: math.MaxInt32, ops: []Op{{Type: OpDeleteRun}}},
		{name: "a hash that guards nothing", msg: run(`{"step":1,"node_id":"n","state":{},"content_hash":"` + digits + `"}`), ops: []Op{{Type: OpStep, Step: 1, NodeID: "n", State: []byte("{}")}}, hash: &someSum},

		{name: "a V2 checkpoint with the least", msg: run(`{"ops":[{"op":"checkpoint_v2","step_id":-1,"state":null}]}`), ops: []Op{v2(-1, "null", V2{})}},
		{name: "a V2 checkpoint with nothing in its members", msg: run(`{"ops":[{"op":"checkpoint_v2","step_id":0,"state":0,"frontier":null,"recorded_ios":null,"rng_seed":0,"label":"","idempotency_key":""}]}`), ops: []Op{v2(0, "0", V2{})}},
		{
			name: "a V2 checkpoint with everything, its name last",
			msg: run(`{"content_hash":"` + strings.ToUpper(digits) + `","ops":[{"idempotency_key":"k\u00fc","label":"l","timestamp":"2026-01-02T03:04:05.678901Z","rng_seed":-9223372036854775808,` +
				`"recorded_ios":[ ],"frontier":{"a": 1},"state":[1 ,2],"step_id":2147483647,"op":"checkpoint_v2"}]}`),
			ops:  []Op{v2(math.MaxInt32, "[1 ,2]", V2{Frontier: []byte(`{"a": 1}`), RecordedIOs: []byte("[ ]"), RNGSeed: math.MinInt64, Label: "l", Key: "kü", Timestamp: at})},
			keys: []string{"kü"}, hash: &someSum,
		},
		{name: "a seed of all 63 bits", msg: run(`{"ops":[{"op":"checkpoint_v2","step_id":0,"state":0,"rng_seed":9223372036854775807}]}`), ops: []Op{v2(0, "0", V2{RNGSeed: math.MaxInt64})}},
		{name: "a time of another zone", msg: timed("2026-01-02T05:04:05.678901+02:00"), ops: []Op{v2(0, "0", V2{Timestamp: at})}},
		{name: "a time of nanoseconds", msg: timed("2026-01-02T03:04:05.678901999Z"), ops: []Op{v2(0, "0", V2{Timestamp: at})}},
		{name: "the first time", msg: timed("0001-01-01T00:00:00.000001Z"), ops: []Op{v2(0, "0", V2{Timestamp: time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)})}},
		{name: "the last time", msg: timed("9999-12-31T23:59:59.999999Z"), ops: []Op{v2(0, "0", V2{Timestamp: time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)})}},
		{
			name: "keys of several, one twice", msg: run(`{"ops":[{"op":"checkpoint_v2","step_id":0,"state":0,"idempotency_key":"b"},{"op":"checkpoint_v2","step_id":1,"state":1,"idempotency_key":"a"},{"op":"checkpoint_v2","step_id":2,"state":2,"idempotency_key":"b"}]}`),
			ops:  []Op{v2(0, "0", V2{Key: "b"}), v2(1, "1", V2{Key: "a"}), v2(2, "2", V2{Key: "b"})},
			keys: []string{"a", "b"},
		},
		{
			name: "one of each", msg: run(`{"run_id":"run-001","attempt":3,"ops":[{"op":"delete_run"},{"op":"step","step":1,"node_id":"n","state":1},{"op":"checkpoint","checkpoint_id":"c d","step":2,"state":2},` +
				`{"op":"checkpoint_v2","step_id":3,"state":3},{"op":"event","event_id":"e","data":{"msg":"m"}}]}`),
			attempt: 3,
			ops: []Op{
				{Type: OpDeleteRun},
				{Type: OpStep, Step: 1, NodeID: "n", State: []byte("1")},
				named("c d", 2, "2"), v2(3, "3", V2{}),
				{Type: OpOutbox, ID: "e", State: []byte(`{"msg":"m"}`)},
			},
		},

		{name: "a named checkpoint", msg: under(KindCheckpoint, "c", `{"step":1,"state":{}}`), ops: []Op{named("c", 1, "{}")}},
		{name: "a named checkpoint with its id", msg: under(KindCheckpoint, "a/b", `{"checkpoint_id":"a\/b","step":-1,"state":null}`), ops: []Op{named("a/b", -1, "null")}},
		{name: "a named checkpoint under a hash", msg: under(KindCheckpoint, longID, `{"checkpoint_id":"`+longID+`","step":1,"state":1}`), ops: []Op{named(longID, 1, "1")}},
		{name: "a named checkpoint in a list", msg: under(KindCheckpoint, "c", `{"ops":[{"op":"checkpoint","checkpoint_id":"c","step":1,"state":1}]}`), ops: []Op{named("c", 1, "1")}},
		{
			name: "several under a hash", msg: under(KindCheckpoint, longID, `{"checkpoint_id":"`+longID+`","ops":[{"op":"checkpoint","checkpoint_id":"c","step":1,"state":1},{"op":"checkpoint","checkpoint_id":"`+longID+`","step":2,"state":2}]}`),
			ops: []Op{named("c", 1, "1"), named(longID, 2, "2")},
		},
		{
			name: "another checkpoint than the subject's", msg: under(KindCheckpoint, "c", `{"ops":[{"op":"checkpoint","checkpoint_id":"d","step":1,"state":1}],"checkpoint_id":"c"}`),
			ops: []Op{named("d", 1, "1")},
		},

		{name: "the beginning of an attempt", msg: under(KindAttempt, "run-001", `{"attempt":1}`), attempt: 1, ops: []Op{{Type: OpAttempt}}},
		{name: "the beginning of an attempt with its run", msg: under(KindAttempt, longID, `{"run_id":"`+longID+`","attempt":2147483647}`), attempt: math.MaxInt32, ops: []Op{{Type: OpAttempt}}},
	}
}

func TestDecodeUnderstandsEveryOpAndKind(t *testing.T) {
	t.Parallel()
	for _, test := range meanings() {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ev := subjects.Decode(test.msg)
			require.Nil(t, ev.Poison)
			addr, err := subjects.ParseLog(test.msg.Subject)
			require.NoError(t, err)
			require.Equal(t, Address{5, "default", addr.Kind, addr.Token}, Address{ev.Partition, ev.Namespace, ev.Kind, addr.Token})
			if ev.Kind == KindCheckpoint {
				require.Empty(t, ev.RunID)
			} else {
				require.Equal(t, addr.Token, Token(ev.RunID))
			}
			require.Equal(t, test.attempt, ev.Attempt)
			require.Equal(t, seen(test.ops), ev.Ops)
			require.Equal(t, test.keys, ev.Keys())
			require.Equal(t, test.hash != nil, ev.GivenHash)
			switch {
			case test.hash != nil:
				require.Equal(t, *test.hash, ev.ContentHash)
			case test.keys != nil:
				require.Equal(t, HashContent(ev.RunID, ev.Ops), ev.ContentHash)
			default:
				require.Zero(t, ev.ContentHash, "made for nobody")
			}
			require.Equal(t, test.msg, ev.Message)
		})
	}
}

// poisoned is a message that can never be applied, and its code.
type poisoned struct {
	name, code string
	msg        Message
}

func poisons() []poisoned {
	run := func(body string) Message { return under(KindRun, "run-001", body) }
	op := func(members string) Message { return run(`{"ops":[{` + members + `}]}`) }
	v2 := func(members string) Message {
		return op(`"op":"checkpoint_v2","step_id":1,"state":{},` + members)
	}
	event := func(members string) Message { return op(`"op":"event",` + members) }
	checkpoint := func(body string) Message { return under(KindCheckpoint, "c", body) }
	attempt := func(body string) Message { return under(KindAttempt, "run-001", body) }
	step := `{"step":1,"node_id":"n","state":{}}`
	long, deep := strings.Repeat("x", 256), strings.Repeat("[", MaxDepth+1)+strings.Repeat("]", MaxDepth+1)
	return []poisoned{
		{"an attempt of 0", CodeBody, run(`{"attempt":0,"step":1,"node_id":"n","state":{}}`)},
		{"an attempt below 0", CodeBody, run(`{"attempt":-1,"step":1,"node_id":"n","state":{}}`)},
		{"an attempt too many", CodeBody, run(`{"attempt":2147483648,"step":1,"node_id":"n","state":{}}`)},
		{"an attempt in quotes", CodeBody, run(`{"attempt":"1","step":1,"node_id":"n","state":{}}`)},
		{"an attempt that is null", CodeBody, run(`{"attempt":null,"step":1,"node_id":"n","state":{}}`)},
		{"an attempt with a fraction", CodeBody, run(`{"attempt":1.0,"step":1,"node_id":"n","state":{}}`)},
		{"an attempt twice", CodeBody, run(`{"attempt":1,"attempt":1,"step":1,"node_id":"n","state":{}}`)},
		{"an op's attempt", CodeBody, op(`"op":"delete_run","attempt":1`)},
		{"a hash too short", CodeBody, run(`{"content_hash":"` + digits[1:] + `","ops":[{"op":"delete_run"}]}`)},
		{"a hash too long", CodeBody, run(`{"content_hash":"` + digits + `00","ops":[{"op":"delete_run"}]}`)},
		{"a hash of other digits", CodeBody, run(`{"content_hash":"g` + digits[1:] + `","ops":[{"op":"delete_run"}]}`)},
		{"a hash that is null", CodeBody, run(`{"content_hash":null,"ops":[{"op":"delete_run"}]}`)},
		{"an op's hash", CodeBody, op(`"op":"delete_run","content_hash":"` + digits + `"`)},
		{"an event's op", CodeBody, run(`{"op":"step","step":1,"node_id":"n","state":{}}`)},
		{"ops within ops", CodeBody, op(`"op":"step","ops":[]`)},
		{"ops that are null", CodeBody, run(`{"ops":null}`)},
		{"ops beside a label", CodeBody, run(`{"label":"l","ops":[{"op":"delete_run"}]}`)},
		{"an unknown member of a known op", CodeBody, op(`"op":"delete_run","why":"x"`)},
		{"an op named by null", CodeBody, op(`"op":null`)},
		{"an op in other case", CodeOp, op(`"op":"Step","step":1,"node_id":"n","state":{}`)},
		{"an attempt as an op", CodeOp, op(`"op":"attempt"`)},
		{"a list that begins with a NUL", CodeNotJSON, run("{\"ops\":[\x00{\"op\":\"bogus\"}]}")},
		{"half a list", CodeNotJSON, run(`{"ops":[{"op":"delete_run"}`)},
		{"a list with a comma at its end", CodeNotJSON, run(`{"ops":[{"op":"delete_run"},]}`)},
		{"something after a list", CodeNotJSON, run(`{"ops":[{"op":"delete_run"}]}]`)},

		{"a step with a label", CodeBody, run(`{"step":1,"node_id":"n","state":{},"label":"l"}`)},
		{"a step with a step_id", CodeBody, run(`{"step":1,"node_id":"n","state":{},"step_id":1}`)},
		{"a step with a checkpoint's id", CodeBody, run(`{"step":1,"node_id":"n","state":{},"checkpoint_id":"c"}`)},
		{"a delete with a step", CodeBody, op(`"op":"delete_run","step":1`)},

		{"a checkpoint without an id", CodeBody, op(`"op":"checkpoint","step":1,"state":{}`)},
		{"a checkpoint without a step", CodeBody, op(`"op":"checkpoint","checkpoint_id":"c","state":{}`)},
		{"a checkpoint without a state", CodeBody, op(`"op":"checkpoint","checkpoint_id":"c","step":1`)},
		{"a checkpoint with a node", CodeBody, op(`"op":"checkpoint","checkpoint_id":"c","step":1,"state":{},"node_id":"n"`)},
		{"a checkpoint with an empty id", CodeID, op(`"op":"checkpoint","checkpoint_id":"","step":1,"state":{}`)},
		{"a checkpoint with an id ending in a space", CodeID, op(`"op":"checkpoint","checkpoint_id":"c ","step":1,"state":{}`)},
		{"a checkpoint with an id of 256 characters", CodeID, op(`"op":"checkpoint","checkpoint_id":"` + long + `","step":1,"state":{}`)},
		{"a checkpoint whose id is a number", CodeBody, op(`"op":"checkpoint","checkpoint_id":1,"step":1,"state":{}`)},

		{"a V2 checkpoint without a step_id", CodeBody, op(`"op":"checkpoint_v2","state":{}`)},
		{"a V2 checkpoint without a state", CodeBody, op(`"op":"checkpoint_v2","step_id":1`)},
		{"a V2 checkpoint with a step", CodeBody, v2(`"step":1`)},
		{"a V2 checkpoint with a node", CodeBody, v2(`"node_id":"n"`)},
		{"a step_id above INT", CodeStep, op(`"op":"checkpoint_v2","step_id":2147483648,"state":{}`)},
		{"a seed beyond 64 bits", CodeBody, v2(`"rng_seed":9223372036854775808`)},
		{"a seed with a fraction", CodeBody, v2(`"rng_seed":0.5`)},
		{"a seed in quotes", CodeBody, v2(`"rng_seed":"1"`)},
		{"a timestamp of a date", CodeBody, v2(`"timestamp":"2026-01-02"`)},
		{"a timestamp without a zone", CodeBody, v2(`"timestamp":"2026-01-02T03:04:05"`)},
		{"a timestamp with a blank", CodeBody, v2(`"timestamp":"2026-01-02 03:04:05Z"`)},
		{"a timestamp with an hour of one digit", CodeBody, v2(`"timestamp":"2026-01-02T3:04:05Z"`)},
		{"a timestamp with a comma", CodeBody, v2(`"timestamp":"2026-01-02T03:04:05,5Z"`)},
		{"a timestamp with an offset of a day", CodeBody, v2(`"timestamp":"2026-01-02T03:04:05+24:00"`)},
		{"a timestamp with an offset of an hour and an hour", CodeBody, v2(`"timestamp":"2026-01-02T03:04:05+01:60"`)},
		{"a timestamp in small letters", CodeBody, v2(`"timestamp":"2026-01-02t03:04:05z"`)},
		{"a timestamp of the 30th of February", CodeBody, v2(`"timestamp":"2026-02-30T03:04:05Z"`)},
		{"a timestamp of the year 0", CodeBody, v2(`"timestamp":"0000-12-31T23:59:59Z"`)},
		{"a timestamp of the year 0 in UTC", CodeBody, v2(`"timestamp":"0001-01-01T00:00:00+01:00"`)},
		{"a timestamp of the year 10000 in UTC", CodeBody, v2(`"timestamp":"9999-12-31T23:59:59-01:00"`)},
		{"a timestamp that is a number", CodeBody, v2(`"timestamp":1767323045`)},
		{"a timestamp that is null", CodeBody, v2(`"timestamp":null`)},
		{"a label of 256 characters", CodeBody, v2(`"label":"` + long + `"`)},
		{"a label ending in a space", CodeBody, v2(`"label":"l "`)},
		{"a label that is null", CodeBody, v2(`"label":null`)},
		{"a key of 256 characters", CodeBody, v2(`"idempotency_key":"` + long + `"`)},
		{"a key ending in a space", CodeBody, v2(`"idempotency_key":"k "`)},
		{"a key that is a number", CodeBody, v2(`"idempotency_key":1`)},
		{"a frontier too deep", CodeDepth, v2(`"frontier":` + deep)},
		{"recorded I/O too deep", CodeDepth, v2(`"recorded_ios":` + deep)},
		{"a V2 checkpoint's state too deep", CodeDepth, op(`"op":"checkpoint_v2","step_id":1,"state":` + deep)},
		{"a frontier that is no JSON", CodeNotJSON, v2(`"frontier":nil`)},

		{"an event without an id", CodeBody, event(`"data":{}`)},
		{"an event without data", CodeBody, event(`"event_id":"e"`)},
		{"an event with a state", CodeBody, event(`"event_id":"e","data":{},"state":{}`)},
		{"an event with an empty id", CodeID, event(`"event_id":"","data":{}`)},
		{"an event with an id ending in a space", CodeID, event(`"event_id":"e ","data":{}`)},
		{"an event's data too deep", CodeDepth, event(`"event_id":"e","data":` + deep)},

		{"a checkpoint's body without a step", CodeBody, checkpoint(`{"state":{}}`)},
		{"a checkpoint's body with a run", CodeBody, checkpoint(`{"run_id":"c","step":1,"state":{}}`)},
		{"a checkpoint's body of an attempt", CodeBody, checkpoint(`{"attempt":1,"step":1,"state":{}}`)},
		{"a checkpoint's list of an attempt", CodeBody, checkpoint(`{"attempt":1,"ops":[{"op":"checkpoint","checkpoint_id":"c","step":1,"state":{}}]}`)},
		{"a checkpoint's body with a hash", CodeBody, checkpoint(`{"content_hash":"` + digits + `","step":1,"state":{}}`)},
		{"a step under a checkpoint", CodeBody, checkpoint(step)},
		{"a step in a checkpoint's list", CodeBody, checkpoint(`{"ops":[{"op":"step","step":1,"node_id":"n","state":{}}]}`)},
		{"a V2 checkpoint in a checkpoint's list", CodeBody, checkpoint(`{"ops":[{"op":"checkpoint_v2","step_id":1,"state":{}}]}`)},
		{"a delete in a checkpoint's list", CodeBody, checkpoint(`{"ops":[{"op":"delete_run"}]}`)},
		{"a checkpoint's step beside its list", CodeBody, checkpoint(`{"checkpoint_id":"c","step":1,"ops":[{"op":"checkpoint","checkpoint_id":"c","step":1,"state":{}}]}`)},
		{"another checkpoint's id", CodeID, checkpoint(`{"checkpoint_id":"d","step":1,"state":{}}`)},
		{"a checkpoint's id that is null", CodeBody, checkpoint(`{"checkpoint_id":null,"step":1,"state":{}}`)},
		{"another checkpoint's id beside a list", CodeID, checkpoint(`{"checkpoint_id":"d","ops":[{"op":"checkpoint","checkpoint_id":"c","step":1,"state":{}}]}`)},
		{"a checkpoint's id beside a run's list", CodeBody, run(`{"checkpoint_id":"c","ops":[{"op":"delete_run"}]}`)},
		{"a hash, and no checkpoint's id beside the list", CodeToken, under(KindCheckpoint, longID, `{"ops":[{"op":"checkpoint","checkpoint_id":"`+longID+`","step":1,"state":{}}]}`)},
		{"a hash, and no checkpoint's id", CodeToken, under(KindCheckpoint, longID, `{"step":1,"state":{}}`)},
		{"a token that no checkpoint has", CodeToken, Message{Subject: "persistd.log.0.default.checkpoint.a%2eb", Body: []byte(`{"step":1,"state":{}}`)}},

		{"an attempt without a number", CodeBody, attempt(`{"run_id":"run-001"}`)},
		{"an attempt's body of nothing", CodeBody, attempt(`{}`)},
		{"an attempt that begins with a step", CodeBody, attempt(`{"attempt":1,"step":1,"node_id":"n","state":{}}`)},
		{"an attempt that begins with ops", CodeBody, attempt(`{"attempt":1,"ops":[{"op":"delete_run"}]}`)},
		{"an attempt that begins with a hash", CodeBody, attempt(`{"attempt":1,"content_hash":"` + digits + `"}`)},
		{"an attempt of another run", CodeID, attempt(`{"run_id":"run-002","attempt":1}`)},
		{"an attempt in two parts", CodePart, part("t 1 of 2", attempt(`{"attempt":1}`))},

		{"the part 0", CodePart, part("t 0 of 3", run(step))},
		{"a part after the last", CodePart, part("t 4 of 3", run(step))},
		{"too many parts", CodePart, part("t 1 of 1001", run(step))},
		{"a part of no transaction", CodePart, part(" 1 of 3", run(step))},
		{"a part of a transaction with a long id", CodePart, part(strings.Repeat("t", 65)+" 1 of 3", run(step))},
		{"a part with two blanks", CodePart, part("t  1 of 3", run(step))},
		{"a part with a sign", CodePart, part("t +1 of 3", run(step))},
		{"a part with a nought in front", CodePart, part("t 01 of 3", run(step))},
		{"a part in other words", CodePart, part("t 1 / 3", run(step))},
		{"a part with more words", CodePart, part("t 1 of 3 parts", run(step))},
	}
}

func TestDecodeRefusesOpsThatAreNone(t *testing.T) {
	t.Parallel()
	for _, test := range poisons() {
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
}
