package client

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/wire"
)

// openSmall opens an engine on a server whose messages have at most maxPayload bytes.
func openSmall(t *testing.T, maxPayload int32, opts ...Option) *engine {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, MaxPayload: maxPayload, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	cfg, err := newConfig(append([]Option{WithCloseTimeout(0)}, opts...))
	require.NoError(t, err)
	e, err := openEngine(t.Context(), s.ClientURL(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.close()) })
	return e
}

// random is a JSON string of n bytes that does not compress well.
func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[rand.N(64)]
	}
	return append(append([]byte{'"'}, b...), '"')
}

// logged is what persistd reads of the messages, dressed for their longest attempt.
func logged(t require.TestingT, e *engine, w *write, msgs []*nats.Msg) wire.Event {
	pub := &publication{msgs: msgs}
	a := attempt{number: 1_000_000}
	if w.attempt > 0 {
		a.fence = fence{e.subjects.Log(maxPartition, "default", wire.KindAttempt, w.id), 1 << 62}
	}
	var (
		events []wire.Event
		ids    = map[string]bool{}
	)
	for _, m := range pub.dress(a, "") {
		require.LessOrEqual(t, m.Size()-len(m.Subject), int(e.nc.MaxPayload()))
		require.Equal(t, e.subjects.Write("default", w.kind, w.id), m.Subject)
		ids[m.Header.Get(wire.HeaderMsgID)] = true
		ev := e.subjects.Decode(wire.Message{Subject: e.subjects.Log(1, "default", w.kind, w.id), Header: wire.Header(m.Header), Body: m.Data})
		require.Nil(t, ev.Poison)
		for i := range ev.Ops {
			ev.Ops[i].Shallow = false // which only a reader finds out
		}
		if len(msgs) > 1 {
			var before wire.Part
			if len(events) > 0 {
				before = events[len(events)-1].Part
			}
			require.True(t, ev.Part.Follows(before))
		}
		events = append(events, ev)
	}
	require.Len(t, ids, len(msgs), "each part has an id of its own")
	if len(msgs) == 1 {
		return events[0]
	}
	require.True(t, events[len(events)-1].Part.Last())
	require.Equal(t, "1", msgs[len(msgs)-1].Header.Get(headerBatchCommit))
	return wire.Join(events)
}

// A write of any ops is in messages that fit, with their headers at their longest, and is read back as it was.
func TestAWriteIsSplitIntoMessagesThatFit(t *testing.T) {
	t.Parallel()
	engines := []*engine{openSmall(t, 4096), openSmall(t, 4096, WithCompression(0)), openSmall(t, 4096, WithCompression(1))}
	rapid.Check(t, func(r *rapid.T) {
		e := rapid.SampledFrom(engines).Draw(r, "engine")
		id := rapid.SampledFrom([]string{"run", "a.b", strings.Repeat("ü", 250)}).Draw(r, "id")
		w := &write{kind: wire.KindRun, id: id, attempt: rapid.SampledFrom([]uint32{0, 3, 1<<31 - 1}).Draw(r, "attempt")}
		checkpoints := rapid.Bool().Draw(r, "checkpoints")
		if checkpoints {
			w.kind, w.attempt = wire.KindCheckpoint, 0
		}
		for i := range rapid.IntRange(1, 30).Draw(r, "ops") {
			state := random(rapid.SampledFrom([]int{1, 40, 500, 1500, 2500}).Draw(r, "size"))
			op := wire.Op{Type: wire.OpStep, Step: int32(i), NodeID: "n", State: state}
			switch {
			case checkpoints && i == 0:
				op = wire.Op{Type: wire.OpCheckpoint, ID: id, State: state}
			case checkpoints || rapid.Bool().Draw(r, "checkpoint"):
				op = wire.Op{Type: wire.OpCheckpoint, ID: fmt.Sprint("checkpoint-", i), State: state}
			case rapid.Bool().Draw(r, "v2"):
				op = wire.Op{Type: wire.OpCheckpointV2, Step: int32(i), State: state, V2: &wire.V2{
					Frontier: []byte("null"), RecordedIOs: []byte("[]"), Key: fmt.Sprint("key-", i), Label: "l",
				}}
				w.hash = [32]byte{1, 2, 3}
			}
			w.ops = append(w.ops, op)
		}
		msgs, err := e.messages(w)
		require.NoError(r, err)
		ev := logged(r, e, w, msgs)
		require.Nil(r, ev.Poison)
		require.Equal(r, w.ops, ev.Ops)
		require.Equal(r, w.attempt, ev.Attempt)
		if len(w.keys()) > 0 {
			require.Equal(r, w.hash, ev.ContentHash)
			require.True(r, ev.GivenHash)
		}
	})
}

func TestAWriteIsOneMessageAsLongAsItFits(t *testing.T) {
	t.Parallel()
	e := openSmall(t, 4096, WithCompression(0))
	of := func(size int) *write {
		return &write{kind: wire.KindRun, id: "run", ops: []wire.Op{
			{Type: wire.OpStep, Step: 1, State: random(size / 2)}, {Type: wire.OpStep, Step: 2, State: random(size - size/2)},
		}}
	}
	split := 0
	for size := 3600; size < 4200; size++ {
		w := of(size)
		header := nats.Header{}
		if size%2 == 0 {
			w.durability, header[wire.HeaderUrgent] = Committed, urgent
		}
		msgs, err := e.messages(w)
		require.NoError(t, err)
		require.Equal(t, w.ops, logged(t, e, w, msgs).Ops)
		header[wire.HeaderMsgID] = msgs[0].Header[wire.HeaderMsgID]
		body := headerSize(header) + len(w.body(w.ops))
		require.Equal(t, body <= 4096, len(msgs) == 1, "%d bytes are %d messages", body, len(msgs))
		split += len(msgs) - 1
	}
	require.Positive(t, split)

	// Compressed it fits again.
	e = openSmall(t, 4096)
	w := of(20_000)
	for i := range w.ops {
		w.ops[i].State = []byte(`"` + strings.Repeat("x", 10_000) + `"`)
	}
	msgs, err := e.messages(w)
	require.NoError(t, err)
	require.Len(t, msgs, 1)
}

func TestAWriteThatCannotBeSplitSaysWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	small := openSmall(t, 4096, WithCompression(0))
	large := openSmall(t, 16<<20, WithCompression(0))
	steps := func(n, size int) []wire.Op {
		ops := make([]wire.Op, n)
		state := random(size)
		for i := range ops {
			ops[i] = wire.Op{Type: wire.OpStep, Step: int32(i), State: state}
		}
		return ops
	}
	for _, row := range []struct {
		name string
		e    *engine
		ops  []wire.Op
		says string
	}{
		{"a step", small, append(steps(3, 100), steps(1, 5000)...), "step 0: message has "},
		{"an event", small, append(steps(30, 300), wire.Op{Type: wire.OpOutbox, ID: "the-event", State: random(5000)}), `event "the-event": message has `},
		{"the only one", small, steps(1, 5000), "message has "},
		{"a step, in any message", large, append(steps(3, 100), steps(1, wire.MaxBody)...), "more than 7340032"},
		{"the number of messages", small, steps(1001, 2500), "more than 1000 messages"},
		{"all together", large, steps(65, 1<<20), "more than 67108864 bytes"},
	} {
		_, err := row.e.messages(&write{kind: wire.KindRun, id: "run", ops: row.ops})
		require.ErrorIs(t, err, ErrTooLarge, row.name)
		require.ErrorContains(t, err, row.says, row.name)
	}
	_, err := small.messages(&write{kind: wire.KindRun, id: "run", ops: steps(1000, 2500)})
	require.NoError(t, err)
	msgs, err := large.messages(&write{kind: wire.KindRun, id: "run", ops: steps(63, 1<<20)})
	require.NoError(t, err)
	require.Len(t, msgs, 11, "six to a message of at most 7 MiB")
}
