package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var raceEnabled bool // the race detector watches

// Decoding is what every event costs the daemon before the database does.
func BenchmarkDecode(b *testing.B) {
	const op = `{"op":"step","step":1,"node_id":"start","state":{"n":1}}`
	for _, bench := range []struct{ name, body string }{
		{"small", `{"run_id":"run-001","step":1,"node_id":"start","state":{"n":1}}`},
		{"1KiB", `{"run_id":"run-001","step":1,"node_id":"start","state":{"n":1,"ok":true,"text":"` + strings.Repeat("some text of it ", 64) + `"}}`},
		{"10KB", `{"run_id":"run-001","step":1,"node_id":"start","state":{"a":[` + strings.Repeat(`"some text of a message",`, 400) + `1]}}`},
		{"100ops", `{"run_id":"run-001","ops":[` + strings.Repeat(op+",", 99) + op + `]}`},
		{"key", `{"run_id":"run-001","ops":[{"op":"checkpoint_v2","step_id":1,"state":{"n":1},"idempotency_key":"k"}]}`},
	} {
		m := logged(bench.body)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(m.Body)))
			for b.Loop() {
				if ev := subjects.Decode(m); ev.Poison != nil {
					b.Fatal(ev.Poison)
				}
			}
		})
	}
}

func BenchmarkHeaderSize(b *testing.B) {
	m := Message{Header: Header{HeaderMsgID: {"dQw4w9WgXcQ3n8jK-123456"}, HeaderChain: {"dQw4w9WgXcQ3n8jK-1 17"}}}
	for _, bench := range []struct {
		name  string
		known int
	}{{"counted", 0}, {"known", 120}} {
		m.HeaderBytes = bench.known
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.HeaderSize()
			}
		})
	}
}

func TestHeadersAreCountedWhereTheirSizeIsNotKnown(t *testing.T) {
	t.Parallel()
	m := Message{Header: Header{"Trace": {"1234", "56"}, "A": {"7"}}}
	require.Equal(t, 13, m.HeaderSize())
	m.HeaderBytes = 40
	require.Equal(t, 40, m.HeaderSize())
	m = Message{}
	require.Zero(t, m.HeaderSize())
}

// What decoding allocates the collector has to look at, for each step: the ops, and the node's id. The run's is a part of the subject.
func TestAStepIsDecodedInTwoAllocations(t *testing.T) { //nolint:paralleltest // it counts allocations.
	for name, m := range map[string]Message{
		"small": logged(`{"run_id":"run-001","step":1,"node_id":"start","state":{"n":1}}`),
		"10 KB": logged(`{"run_id":"run-001","step":1,"node_id":"start","state":{"a":[` + strings.Repeat(`"some text of a message",`, 400) + `1]}}`),
	} {
		require.EqualValues(t, 2, testing.AllocsPerRun(200, func() {
			if ev := subjects.Decode(m); ev.Poison != nil {
				panic(ev.Poison)
			}
		}), name)
	}
}

// What the answer to a read of a run's latest step allocates, however large its state is: where it is written, what encoding/json needs for all but
// the state; where it is read, what it needs for each number, and the texts. The state is a part of the answer.
func TestALatestStepIsWrittenInThreeAllocationsAndReadInNine(t *testing.T) { //nolint:paralleltest // it counts allocations.
	for name, state := range map[string]string{"small": `{"n":1}`, "10 KB": `["` + strings.Repeat("some text", 1100) + `"]`} {
		reply := LatestReply{Found: true, RunID: "run-001", Step: 1000, NodeID: "node", Sequence: 17, State: []byte(state)}
		answer, err := AppendLatest(nil, reply)
		require.NoError(t, err)
		room := make([]byte, 0, len(answer))
		written := testing.AllocsPerRun(200, func() {
			if _, err := AppendLatest(room, reply); err != nil {
				panic(err)
			}
		})
		if !raceEnabled { // it has the pools of encoding/json forget things; make allocs runs without it
			require.EqualValues(t, 3, written, "to write, %s", name)
		}
		require.EqualValues(t, 9, testing.AllocsPerRun(200, func() {
			if _, err := ParseLatest(answer); err != nil {
				panic(err)
			}
		}), "to read, %s", name)
	}
}
