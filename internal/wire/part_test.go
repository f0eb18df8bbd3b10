package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// parts are decoded messages of one transaction.
func parts(t *testing.T, messages ...Message) []Event {
	t.Helper()
	events := make([]Event, len(messages))
	for i, m := range messages {
		m.Header = Header{HeaderPart: {Part{"tx", i + 1, len(messages)}.String()}}
		m.Sequence = uint64(10 + i)
		events[i] = subjects.Decode(m)
	}
	return events
}

func TestJoinRefusesPartsThatAreNoTransaction(t *testing.T) {
	t.Parallel()
	step := func(run, envelope string) Message {
		return under(KindRun, run, `{`+envelope+`"step":1,"node_id":"n","state":{}}`)
	}
	checkpoint := func(key, id string) Message {
		return under(KindCheckpoint, key, `{"ops":[{"op":"checkpoint","checkpoint_id":"`+id+`","step":1,"state":{}}]}`)
	}
	many := under(KindRun, "a", `{"ops":[`+strings.Repeat(`{"op":"delete_run"},`, MaxOps/2)+`{"op":"delete_run"}]}`)
	large := under(KindRun, "a", `{"step":1,"node_id":"n","state":"`+strings.Repeat("x", MaxBody-100)+`"}`)
	tests := []struct {
		name, code string
		messages   []Message
	}{
		{"another run", CodePart, []Message{step("a", ""), step("b", "")}},
		{"a checkpoint's key", CodePart, []Message{checkpoint("a", "a"), step("a", "")}},
		{"another checkpoint's key", CodePart, []Message{checkpoint("a", "a"), checkpoint("b", "b")}},
		{"another attempt", CodePart, []Message{step("a", `"attempt":1,`), step("a", `"attempt":2,`)}},
		{"an attempt and none", CodePart, []Message{step("a", ""), step("a", `"attempt":1,`)}},
		{"another hash", CodePart, []Message{step("a", `"content_hash":"`+digits+`",`), step("a", `"content_hash":"00`+digits[2:]+`",`)}},
		{"a poison part", CodeStep, []Message{step("a", ""), under(KindRun, "a", `{"step":1.5,"node_id":"n","state":{}}`), step("a", "")}},
		{"a poison last part", CodeNotJSON, []Message{step("a", ""), under(KindRun, "a", `{`)}},
		{"too many ops", CodeBody, []Message{many, many}},
		{"too many bytes", CodeSize, []Message{large, large, large, large, large, large, large, large, large, large}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			events := parts(t, test.messages...)
			ev := Join(events)
			require.NotNil(t, ev.Poison)
			require.Equal(t, test.code, ev.Poison.Code, ev.Poison.Reason)
			require.Empty(t, ev.Ops)
			require.Len(t, ev.Parts, len(events), "a dead letter is made of all of them")
			require.Equal(t, events[len(events)-1].Message, ev.Message)
		})
	}
}

func TestOnePartMayGiveTheHashOfAll(t *testing.T) {
	t.Parallel()
	with := func(envelope string) Message {
		return under(KindRun, "a", `{`+envelope+`"ops":[{"op":"checkpoint_v2","step_id":1,"state":{},"idempotency_key":"k"}]}`)
	}
	given, none := with(`"content_hash":"`+digits+`",`), with("")
	for _, messages := range [][]Message{{given, none, none}, {none, given, none}, {none, none, given}, {given, given, given}} {
		ev := Join(parts(t, messages...))
		require.Nil(t, ev.Poison)
		require.True(t, ev.GivenHash)
		require.Equal(t, someSum, ev.ContentHash)
		require.Equal(t, []string{"k"}, ev.Keys())
	}
	ev := Join(parts(t, none, none))
	require.False(t, ev.GivenHash)
	require.Equal(t, HashContent("a", ev.Ops), ev.ContentHash)
}

func TestAPartFollowsTheOneBefore(t *testing.T) {
	t.Parallel()
	require.True(t, Part{"a", 1, 2}.Follows(Part{}))
	require.True(t, Part{"a", 2, 2}.Follows(Part{"a", 1, 2}))
	for _, pair := range [][2]Part{
		{{"a", 2, 2}, {}},
		{{"a", 1, 2}, {"a", 1, 2}},
		{{"a", 3, 3}, {"a", 1, 3}},
		{{"b", 2, 2}, {"a", 1, 2}},
		{{"a", 2, 3}, {"a", 1, 2}},
		{{"b", 1, 2}, {"a", 1, 2}},
		{{}, {"a", 1, 2}},
	} {
		require.False(t, pair[0].Follows(pair[1]), "%s after %s", pair[0], pair[1])
	}
	require.True(t, Part{}.Last(), "a message that is no part is complete")
	require.False(t, Part{"a", 1, 2}.Last())
}

func TestDecodeReadsParts(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]Part{
		"t 1 of 1":                             {"t", 1, 1},
		"tx-1 1000 of 1000":                    {"tx-1", 1000, 1000},
		strings.Repeat("t", 64) + " 2 of 1000": {strings.Repeat("t", 64), 2, 1000},
	} {
		ev := subjects.Decode(part(header, logged(`{"step":1,"node_id":"n","state":{}}`)))
		require.Nil(t, ev.Poison)
		require.Equal(t, want, ev.Part)
		require.Equal(t, header, ev.Part.String())
	}
}
