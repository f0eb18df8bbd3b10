package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Named checkpoints are written under the subject of one of them, whose token may hide its id, and which a part need not write.
func TestNamedCheckpointsSayWhichOneTheirSubjectNames(t *testing.T) {
	t.Parallel()
	hidden := strings.Repeat("ü", 200)
	named := func(ids ...string) []Op {
		var ops []Op
		for i, id := range ids {
			ops = append(ops, Op{Type: OpCheckpoint, ID: id, Step: int32(i), State: []byte("1")})
		}
		return ops
	}
	for _, row := range []struct {
		name, key string
		ops       []Op
	}{
		{"one", "a.b", named("a.b")},
		{"one, hidden by its token", hidden, named(hidden)},
		{"several", "a.b", named("a.b", "c")},
		{"several, hidden by the token", hidden, named(hidden, "c")},
		{"one that is not the subject's", "a.b", named("c")},
		{"several that are not the subject's", hidden, named("c", "d")},
	} {
		ev := subjects.Decode(Message{
			Subject: subjects.Log(3, "default", KindCheckpoint, row.key), Body: AppendEvent(nil, KindCheckpoint, row.key, 0, nil, row.ops),
		})
		require.Nil(t, ev.Poison, row.name)
		require.Equal(t, seen(row.ops), ev.Ops, row.name)
		require.Empty(t, ev.RunID, row.name)
	}
	for name, body := range map[string]string{
		"another id than the subject's": `{"checkpoint_id":"x","ops":[{"op":"checkpoint","checkpoint_id":"a","step":1,"state":1}]}`,
		"both forms":                    `{"checkpoint_id":"a","step":1,"ops":[{"op":"checkpoint","checkpoint_id":"a","step":1,"state":1}]}`,
	} {
		ev := subjects.Decode(Message{Subject: subjects.Log(3, "default", KindCheckpoint, "a"), Body: []byte(body)})
		require.NotNil(t, ev.Poison, name)
	}
}

func TestOpSizeIsWhatAnOpAddsToABody(t *testing.T) {
	t.Parallel()
	for _, op := range []Op{
		{Type: OpStep, Step: -12, NodeID: "a\n\"é", State: []byte(`{"n":1}`)},
		{Type: OpCheckpoint, Step: 3, ID: "é\x00", State: []byte(`null`)},
		{Type: OpCheckpointV2, Step: 3, State: []byte(`1`), V2: &V2{Frontier: []byte(`[]`), RecordedIOs: []byte(`{}`), RNGSeed: -1, Label: "l", Key: "k"}},
		{Type: OpOutbox, ID: "id", State: []byte(`{}`)},
		{Type: OpDeleteRun},
	} {
		one := len(AppendEvent(nil, KindRun, "r", 1, nil, []Op{{Type: OpDeleteRun}, op}))
		two := len(AppendEvent(nil, KindRun, "r", 1, nil, []Op{{Type: OpDeleteRun}, op, op}))
		require.Equal(t, two-one, OpSize(&op), op.Type)
	}
}
