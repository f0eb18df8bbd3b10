package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// part is part no of n of a transaction of run, with one step of that number.
func part(run, transaction string, no, n int) *nats.Msg {
	m := nats.NewMsg(subjects.Write(wire.DefaultNamespace, wire.KindRun, run))
	m.Data = fmt.Appendf(nil, `{"step":%d,"node_id":"n","state":{"of":%d}}`, no, n)
	if n > 0 {
		m.Header.Set(wire.HeaderPart, wire.Part{Transaction: transaction, No: no, Of: n}.String())
	}
	return m
}

// parts are all parts of a transaction.
func parts(run, transaction string, n int) (all []*nats.Msg) {
	for no := 1; no <= n; no++ {
		all = append(all, part(run, transaction, no, n))
	}
	return all
}

// batch publishes messages as one atomic batch (ADR-50), and returns the sequence of the last.
func batch(t *testing.T, js jetstream.JetStream, messages []*nats.Msg) uint64 {
	t.Helper()
	id := nats.NewInbox()
	for i, m := range messages {
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(messages)-1 {
			require.NoError(t, js.Conn().PublishMsg(m))
		}
	}
	last := messages[len(messages)-1]
	last.Header.Set("Nats-Batch-Commit", "1")
	return logged(t, js, last)
}

// logged publishes one message and returns its sequence.
func logged(t *testing.T, js jetstream.JetStream, m *nats.Msg) uint64 {
	t.Helper()
	reply, err := js.Conn().RequestMsgWithContext(within(t), m)
	require.NoError(t, err)
	var ack struct {
		Error *jetstream.APIError
		Seq   uint64
	}
	require.NoError(t, json.Unmarshal(reply.Data, &ack), "%s", reply.Data)
	require.Nil(t, ack.Error)
	return ack.Seq
}

// messages are the sequences of what the event is made of.
func messages(ev wire.Event) (seqs []uint64) {
	if ev.Parts == nil {
		return []uint64{ev.Message.Sequence}
	}
	for _, m := range ev.Parts {
		seqs = append(seqs, m.Sequence)
	}
	return seqs
}

// read reads partition 0 until n events were delivered.
func read(t *testing.T, r *Reader, after uint64, n int, pending func(int64)) (events []wire.Event) {
	t.Helper()
	err := r.Read(within(t), 0, wire.Place{Sequence: after}, func(_ context.Context, ev wire.Event) error {
		if events = append(events, ev); len(events) == n {
			return errEnough
		}
		return nil
	}, pending)
	require.ErrorIs(t, err, errEnough)
	return events
}

// receive takes the next of what must come.
func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-within(t).Done():
		t.Fatal("nothing comes")
	}
	return v
}

// runIn is a run whose events are in partition p.
func runIn(p, partitions int) string {
	for i := 0; ; i++ {
		if run := "run-" + strconv.Itoa(i); wire.Partition(wire.DefaultNamespace, run, partitions) == p {
			return run
		}
	}
}
