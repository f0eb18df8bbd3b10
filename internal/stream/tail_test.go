package stream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// log is a log with the events of two interleaved runs in it.
type history struct {
	js  jetstream.JetStream
	s   *Stream
	seq []uint64 // of run-001, by step
}

func newHistory(t *testing.T, steps int) *history {
	t.Helper()
	h := &history{js: connect(t)}
	h.s = ensure(t, h.js, Config{Partitions: 1, MaxBytes: 256 << 20})
	for i := range steps {
		h.seq = append(h.seq, save(t, h.js, "run-001", i))
		save(t, h.js, "run-002", 1000+i)
	}
	return h
}

func (h *history) tail(t *testing.T, run string, after uint64) []wire.Event {
	t.Helper()
	events, err := collect(t, h.s, 0, run, after)
	require.NoError(t, err)
	return events
}

// collect is all that Tail shows.
func collect(t *testing.T, s *Stream, partition int, run string, after uint64) ([]wire.Event, error) {
	t.Helper()
	var events []wire.Event
	_, err := s.Tail(within(t), partition, wire.DefaultNamespace, wire.KindRun, run, after, func(ev *wire.Event) { events = append(events, *ev) })
	return events, err
}

func steps(t *testing.T, events []wire.Event) []int {
	t.Helper()
	all := []int{}
	for i, ev := range events {
		require.Nil(t, ev.Poison)
		require.Len(t, ev.Ops, 1)
		require.True(t, i == 0 || events[i-1].Message.Sequence < ev.Message.Sequence, "log order")
		all = append(all, int(ev.Ops[0].Step))
	}
	return all
}

func count(from, to int) []int {
	all := []int{}
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func TestTailIsWhatTheRunHasAfterThePosition(t *testing.T) {
	t.Parallel()
	const n = 2*pageMessages + 50 // more than two pages
	h := newHistory(t, n)
	tests := []struct {
		name  string
		run   string
		after uint64
		want  []int
	}{
		{"a run that nobody wrote has none", "run-003", 0, []int{}},
		{"all is committed", "run-001", 2 * n, []int{}},
		{"the run's last event is committed", "run-001", h.seq[n-1], []int{}},
		{"only the last event is not, and it is the very next one", "run-001", h.seq[n-1] - 1, []int{n - 1}},
		{"only the last event is not, and another run's are between", "run-001", h.seq[n-2], []int{n - 1}},
		{"a handful is not", "run-001", h.seq[n-6], count(n-5, n)},
		{"nothing is committed", "run-001", 0, count(0, n)},
		{"exactly one page is not", "run-001", h.seq[n-pageMessages-1], count(n-pageMessages, n)},
		{"the position is of another run's event", "run-001", h.seq[n-2] - 1, count(n-2, n)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, steps(t, h.tail(t, test.run, test.after)))
		})
	}
}

// Events of one run that follow each other directly are all there, page after page.
func TestTailOfARunThatIsAlone(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 0)
	const n = pageMessages + 10
	for i := range n {
		save(t, h.js, "run-001", i)
	}
	require.Equal(t, count(0, n), steps(t, h.tail(t, "run-001", 0)))
	h.s.page = func(context.Context, string, uint64) (directPage, error) { return directPage{end: true}, nil }
	require.Equal(t, count(n-20, n), steps(t, h.tail(t, "run-001", n-20)), "from the leader alone")
}

// I6: a replica that is behind gives less than there is, and Tail returns all of it nevertheless.
func TestTailReadsWhatAReplicaLacksFromTheLeader(t *testing.T) {
	t.Parallel()
	const n = 20
	h := newHistory(t, n)
	whole := h.s.page
	prefix := func(end uint64) func(context.Context, string, uint64) (directPage, error) {
		return func(ctx context.Context, subject string, from uint64) (directPage, error) {
			p, err := whole(ctx, subject, from)
			for len(p.messages) > 0 && p.messages[len(p.messages)-1].Sequence > end {
				p.messages = p.messages[:len(p.messages)-1]
			}
			p.end = true
			return p, err
		}
	}
	tests := []struct {
		name string
		page func(context.Context, string, uint64) (directPage, error)
	}{
		{"the replica has nothing yet", prefix(0)},
		{"the replica has half", prefix(h.seq[n/2])},
		{"the replica lacks the last event only", prefix(h.seq[n-1] - 1)},
		{"the replica does not answer", func(context.Context, string, uint64) (directPage, error) { return directPage{}, errors.New("timeout") }},
		{"the replica falls silent in the middle of a page", func(ctx context.Context, subject string, from uint64) (directPage, error) {
			p, err := prefix(h.seq[3])(ctx, subject, from)
			return p, errors.Join(err, errors.New("timeout"))
		}},
		{"the page is empty but not the end", func(context.Context, string, uint64) (directPage, error) { return directPage{}, nil }},
	}
	for _, test := range tests { // one after another: they share the page function
		t.Run(test.name, func(t *testing.T) { //nolint:paralleltest // as above.
			h.s.page = test.page
			require.Equal(t, count(0, n), steps(t, h.tail(t, "run-001", 0)))
			require.Equal(t, count(n-2, n), steps(t, h.tail(t, "run-001", h.seq[n-3])))
		})
	}
}

func TestTailOfALogThatIsTrimmedMeanwhile(t *testing.T) {
	t.Parallel()
	const n = 20
	h := newHistory(t, n)
	whole := h.s.page
	h.s.page = func(ctx context.Context, subject string, from uint64) (directPage, error) {
		require.NoError(t, h.s.Trim(ctx, 0, wire.Place{Sequence: h.seq[n-1]}, time.Now().Add(time.Hour)))
		return whole(ctx, subject, from)
	}
	require.Equal(t, []int{n - 1}, steps(t, h.tail(t, "run-001", 0)), "the last event is in hand; the others are committed")
}

// An event looks the same whichever way it was read, and its publisher's headers cannot pass for the server's.
func TestTailReadsHeadersAsPublished(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 0)
	subject := subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-001")
	for range 3 {
		_, err := h.js.PublishMsg(within(t), &nats.Msg{
			Subject: subject, Data: []byte(stepBody(1)),
			Header: nats.Header{"Nats-Sequence": {"999"}, "Nats-Subject": {"elsewhere"}, "Status": {"204"}, "Mine": {"a", "b"}},
		})
		require.NoError(t, err)
	}
	events := h.tail(t, "run-001", 0)
	require.Len(t, events, 3)
	for i, ev := range events {
		require.Equal(t, uint64(i+1), ev.Message.Sequence)
		require.Equal(t, "persistd.log.0.default.run.run-001", ev.Message.Subject)
		require.Equal(t, wire.Header{"Nats-Sequence": {"999"}, "Nats-Subject": {"elsewhere"}, "Status": {"204"}, "Mine": {"a", "b"}}, ev.Message.Header)
		require.WithinDuration(t, time.Now(), ev.Message.Logged, time.Minute)
	}
}

func TestTailSaysThatTheServerIsAway(t *testing.T) {
	t.Parallel()
	h := newHistory(t, 1)
	h.js.Conn().Close()
	_, err := collect(t, h.s, 0, "run-001", 0)
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
}
