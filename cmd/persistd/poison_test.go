package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// refusedState is valid JSON that only the database's refusal shows to be poison.
func refusedState(t *testing.T) string {
	if stacktest.Engine(t) == devstack.MySQL {
		return `{"n":1e400}`
	}
	return strings.Repeat("[", 40) + strings.Repeat("]", 40)
}

// Poison of every kind is among a thousand good events, in the batches of which it is found: they commit, it is kept with the reason.
func TestI7PoisonDoesNotSpread(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	long := strings.Repeat("x", 300)
	poison := []struct{ token, body, code string }{
		{"run-1", `{"step":`, wire.CodeNotJSON},
		{"run-2", `not JSON at all`, wire.CodeNotJSON},
		{long, `{"step":1,"node_id":"n","state":{}}`, wire.CodeToken},
		{wire.Token(long), fmt.Sprintf(`{"run_id":%q,"step":1,"node_id":"n","state":{}}`, long), wire.CodeID},
		{"run-3", `{"step":2147483648,"node_id":"n","state":{}}`, wire.CodeStep},
		{"run-4", `{"step":-2147483649,"node_id":"n","state":{}}`, wire.CodeStep},
		{"run-5", fmt.Sprintf(`{"step":1,"node_id":"n","state":%s}`, refusedState(t)), wire.CodeDatabase},
		{"run-6", fmt.Sprintf(`{"run_id":"run-6","ops":[{"op":"step","step":1,"node_id":"good","state":{}},{"op":"step","step":2,"node_id":"bad","state":%s}]}`, refusedState(t)), wire.CodeDatabase},
	}
	release := s.lockPartitions() // so that poison and good events meet in batches
	bad := map[string]int{}       // index of poison by sequence
	for i := range 1000 {
		if i%100 == 50 && i/100 < len(poison) {
			p := poison[i/100]
			bad[strconv.FormatUint(s.publish(p.token, p.body), 10)] = i / 100
		}
		s.publish(fmt.Sprintf("good-%d", i%10), fmt.Sprintf(`{"step":%d,"node_id":"n","state":{"i":%d}}`, i/10, i))
	}
	release()

	last := map[int]uint64{}
	for _, ev := range s.log() {
		last[ev.Partition] = ev.Message.Sequence
	}
	s.reached(last)
	require.Equal(t, 1000, s.rows("TRUE"), "the good ones, and of the bad ones nothing")
	require.Equal(t, 1000, s.rows("run_id LIKE 'good-%'"))

	letters := s.deadLetters()
	require.Len(t, letters, len(poison))
	want := map[string]float64{}
	for _, m := range letters {
		i, ok := bad[m.Header.Get(stream.HeaderSequence)]
		require.True(t, ok, "letter of event %s", m.Header.Get(stream.HeaderSequence))
		delete(bad, m.Header.Get(stream.HeaderSequence))
		require.Equal(t, poison[i].body, string(m.Data))
		require.Equal(t, poison[i].code, m.Header.Get(stream.HeaderCode), poison[i].body)
		require.NotEmpty(t, m.Header.Get(stream.HeaderReason))
		require.Equal(t, poison[i].code == wire.CodeDatabase, m.Header.Get(stream.HeaderErrorNumber) != "0")
		want[poison[i].code]++
	}
	const passed = "persistd_events_committed_total"
	s.eventually("the last batch, which the database may have before the daemon knows, is counted", func() bool { return s.metrics(d)[passed] >= 1008 })
	m := s.metrics(d)
	for code, n := range want {
		require.InDelta(t, n, m[fmt.Sprintf("persistd_events_dead_lettered_total{code=%q}", code)], 0, code)
	}
	require.InDelta(t, 1008, m[passed], 0, "passed by the position")
	require.NoError(t, d.stop())
}

// Who waits for the commit of poison is told.
func TestI7CommittedSaveOfPoisonIsRejected(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	st := s.open(client.WithDurability(client.Committed), client.WithMaxDepth(wire.MaxDepth))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "n", json.RawMessage(`{"good":1}`)))
	require.ErrorIs(t, st.SaveStep(t.Context(), "run", 2, "n", json.RawMessage(refusedState(t))), client.ErrRejected)
	require.NoError(t, st.SaveStep(t.Context(), "run", 3, "n", json.RawMessage(`{"good":3}`)))
	require.Equal(t, 2, s.rows("run_id = 'run'"))
	require.Len(t, s.deadLetters(), 1)
	require.NoError(t, d.stop())
}

// The daemon is killed when the dead letter is kept and the position has not passed the event: there is one letter in the end.
func TestI7PoisonIsKeptOnceOverCrashes(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	proxy := s.behindProxy()
	d := s.spawn("none", "PERSISTD_STREAM_PARTITIONS=1").serving()
	s.publish("run", `{"step":0,"node_id":"n","state":{}}`)
	s.matchesLog()
	release := s.lockPartitions()
	s.publish("run", `not JSON`)
	s.publish("run", `{"step":1,"node_id":"n","state":{}}`)
	sprung := proxy.arm(swallowCommit, 1)
	s.eventually("the letter is kept", func() bool { return len(s.deadLetters()) == 1 })
	release()
	<-sprung
	d.kill()
	d = s.spawn("none").serving()
	s.matchesLog()
	require.Equal(t, 2, s.rows("TRUE"))
	require.Len(t, s.deadLetters(), 1)
	require.NoError(t, d.terminate())
}
