package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// row is a row of workflow_steps; the key is its run and step.
type row struct {
	Node, State string
	Seq         uint64
	Gen         uint32
	Created     time.Time
}

type rowKey struct {
	Run  string
	Step int32
}

// log is every event of the log. It fails the test when one was published twice.
func (s *stack) log() []wire.Event {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	st, err := s.js.Stream(ctx, "PERSISTD")
	require.NoError(s.t, err)
	left := st.CachedInfo().State.Msgs
	if left == 0 {
		return nil
	}
	c, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	require.NoError(s.t, err)
	it, err := c.Messages()
	require.NoError(s.t, err)
	defer it.Stop()
	ids := map[string]uint64{}
	events := make([]wire.Event, 0, left)
	for ; left > 0; left-- {
		m, err := it.Next(jetstream.NextContext(ctx))
		require.NoError(s.t, err)
		meta, err := m.Metadata()
		require.NoError(s.t, err)
		if id := m.Headers().Get(nats.MsgIdHdr); id != "" {
			require.Zero(s.t, ids[id], "event %d was published before", meta.Sequence.Stream)
			ids[id] = meta.Sequence.Stream
		}
		events = append(events, wire.Subjects{Prefix: "persistd"}.Decode(wire.Message{
			Subject: m.Subject(), Header: wire.Header(m.Headers()), Body: m.Data(), Sequence: meta.Sequence.Stream, Logged: meta.Timestamp.UTC(),
		}))
	}
	return events
}

// events counts the events in the log.
func (s *stack) events() int {
	s.t.Helper()
	st, err := s.js.Stream(s.t.Context(), "PERSISTD")
	require.NoError(s.t, err)
	return int(st.CachedInfo().State.Msgs)
}

// table is workflow_steps as it is.
func (s *stack) table() map[rowKey]row {
	s.t.Helper()
	rows, err := s.db.QueryContext(s.t.Context(), "SELECT run_id, step, node_id, state, log_seq, log_gen, created_at FROM workflow_steps")
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, rows.Close()) }()
	all := map[rowKey]row{}
	for rows.Next() {
		var k rowKey
		var r row
		require.NoError(s.t, rows.Scan(&k.Run, &k.Step, &r.Node, &r.State, &r.Seq, &r.Gen, &r.Created))
		all[k] = r
	}
	require.NoError(s.t, rows.Err())
	return all
}

// matchesLog waits until the database has what the log has, and compares: every row is what the last event of its step wrote, dated by
// the first; no row is there that no event wrote. It returns the log.
func (s *stack) matchesLog() []wire.Event {
	s.t.Helper()
	events := s.log()
	last, want := map[int]uint64{}, map[rowKey]row{}
	for _, ev := range events {
		last[ev.Partition] = ev.Message.Sequence
		for _, op := range ev.Ops {
			k := rowKey{ev.RunID, op.Step}
			r := row{Node: op.NodeID, State: string(op.State), Seq: ev.Message.Sequence, Created: ev.Message.Logged.Truncate(time.Microsecond)}
			if first, ok := want[k]; ok {
				r.Created = first.Created
			}
			want[k] = r
		}
	}
	s.reached(last)
	got := s.table()
	require.Len(s.t, got, len(want), "rows")
	for k, w := range want {
		g, ok := got[k]
		require.True(s.t, ok, "no row of %v, which event %d wrote", k, w.Seq)
		if !sameJSON(w.State, g.State) { // the database may write a state in its own way
			require.FailNow(s.t, "altered", "state of %v: %.200s\nshould be what event %d says: %.200s", k, g.State, w.Seq, w.State)
		}
		g.State, g.Gen, w.State = "", 0, ""
		require.Equal(s.t, w, g, "row of %v", k)
	}
	return events
}

func sameJSON(a, b string) bool {
	if a == b {
		return true
	}
	var values [2]any
	for i, text := range []string{a, b} {
		if json.Unmarshal([]byte(text), &values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

// reached waits until the partitions are at the given positions.
func (s *stack) reached(want map[int]uint64) {
	s.t.Helper()
	var state string
	require.Eventually(s.t, func() bool {
		at := s.partitions()
		state = fmt.Sprint(at)
		for p, seq := range want {
			if at[p].Position != seq {
				return false
			}
		}
		return true
	}, 2*time.Minute, 20*time.Millisecond, "partitions do not reach %v: %s", want, lazy(func() string { return state }))
}

// lazy is a string that is made when it is printed.
type lazy func() string

func (l lazy) String() string { return l() }
