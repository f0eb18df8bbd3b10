package ingest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestReadDeliversInOrderFromTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{ReadAheadMessages: 7})
	publish(t, w.js, 1, 100, 10)
	require.Equal(t, from(1, 100), collect(t, w.reader, 0, 100))
	require.Equal(t, from(51, 100), collect(t, w.reader, 50, 100))
	require.Equal(t, 150.0, testutil.ToFloat64(w.reader.metrics.events.WithLabelValues("0")))
	require.Equal(t, 0.0, testutil.ToFloat64(w.reader.metrics.resets.WithLabelValues("0")))
}

func TestPendingCountsThePartitionsEventsAboveASequence(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	count := func(after uint64) int64 {
		n, err := w.reader.Pending(within(t), 0, after)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, count(0))
	publish(t, w.js, 1, 7, 0)
	require.EqualValues(t, 7, count(0))
	require.EqualValues(t, 3, count(4))
	require.Zero(t, count(7))
	n, err := w.reader.Pending(within(t), 1, 0)
	require.NoError(t, err)
	require.Zero(t, n, "another partition's")
	st, err := w.js.Stream(within(t), w.stream.Name())
	require.NoError(t, err)
	require.Zero(t, st.CachedInfo().State.Consumers, "nothing is left behind")
}

func TestReadTellsWhatIsPendingAndWhatIsPoison(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	publish(t, w.js, 1, 2, 0)
	_, err := w.js.Publish(within(t), subjects.Write("default", "run", "run-001"), []byte("no JSON"))
	require.NoError(t, err)
	var (
		pending []int64
		events  []wire.Event
	)
	err = w.reader.Read(within(t), 0, wire.Place{}, func(_ context.Context, ev wire.Event) error {
		if events = append(events, ev); len(events) == 4 {
			return errEnough
		}
		return nil
	}, func(n int64) {
		if pending = append(pending, n); len(pending) == 4 {
			publish(t, w.js, 4, 4, 0)
		}
	})
	require.ErrorIs(t, err, errEnough)
	require.Equal(t, []int64{3, 2, 1, 0}, pending, "before the first, and after each")
	require.Equal(t, wire.CodeNotJSON, events[2].Poison.Code)
	require.Equal(t, 1.0, testutil.ToFloat64(w.reader.metrics.poison.WithLabelValues(wire.CodeNotJSON)))
	require.Equal(t, "run-001", events[3].RunID)
	require.Equal(t, "persistd.log.0.default.run.run-001", events[3].Message.Subject)
	require.WithinDuration(t, time.Now(), events[3].Message.Logged, time.Minute)
	problems, err := testutil.GatherAndLint(w.reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// What deliver kept is the event's own for ever.
func TestEventsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{ReadAheadMessages: 3})
	publish(t, w.js, 1, 200, 1000)
	var events []wire.Event
	err := w.reader.Read(within(t), 0, wire.Place{}, func(_ context.Context, ev wire.Event) error {
		if events = append(events, ev); len(events) == 200 {
			return errEnough
		}
		return nil
	}, nil)
	require.ErrorIs(t, err, errEnough)
	for i, ev := range events {
		require.Equal(t, int32(i+1), ev.Ops[0].Step)
		require.Len(t, ev.Ops[0].State, 1002)
	}
}

// What the headers take need not be counted.
func TestEventsKnowHowMuchTheirHeadersAre(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	for _, trace := range []string{"", "x", strings.Repeat("x", 5000)} {
		m := nats.NewMsg("persistd.write.default.run.run-001")
		m.Data = []byte(`{"step":1,"node_id":"n","state":{}}`)
		if trace != "" {
			m.Header = nats.Header{"Trace": {trace}, wire.HeaderMsgID: {"id-" + strconv.Itoa(len(trace))}}
		}
		ack, err := w.js.PublishMsg(within(t), m)
		require.NoError(t, err)
		var got wire.Message
		err = w.reader.Read(within(t), 0, wire.Place{Sequence: ack.Sequence - 1}, func(_ context.Context, ev wire.Event) error {
			got = ev.Message
			return errEnough
		}, nil)
		require.ErrorIs(t, err, errEnough)
		want := 0
		if len(m.Header) > 0 {
			want = len("NATS/1.0\r\n" + "Trace: " + trace + "\r\n" + wire.HeaderMsgID + ": " + m.Header.Get(wire.HeaderMsgID) + "\r\n\r\n")
		}
		require.Equal(t, want, got.HeaderBytes)
	}
}

func TestReadStopsPromptly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{Heartbeat: time.Hour, RequestTimeout: time.Hour, MaxWait: time.Hour})
	ctx, cancel := context.WithCancelCause(within(t))
	done := make(chan error, 1)
	delivered := make(chan struct{}, 1)
	go func() {
		done <- w.reader.Read(ctx, 0, wire.Place{}, func(context.Context, wire.Event) error { delivered <- struct{}{}; return nil }, nil)
	}()
	publish(t, w.js, 1, 1, 0)
	<-delivered
	why := errors.New("the lease is lost")
	cancel(why)
	select {
	case err := <-done:
		require.ErrorIs(t, err, why)
	case <-time.After(time.Minute):
		t.Fatal("Read goes on after its context ended")
	}
	s, err := w.js.Stream(within(t), w.stream.Name())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		si, err := s.Info(context.Background())
		return err == nil && si.State.Consumers == 0
	}, time.Minute, 10*time.Millisecond, "the consumer is left on the server")
}

// Nothing more than the read-ahead is taken from the log while delivery is blocked.
func TestReadAheadIsBounded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		cfg     Config
		padding int
		bound   uint64 // messages
	}{
		{"in messages", Config{ReadAheadMessages: 10}, 10, 10},
		{"in bytes, at least one message of the largest size", Config{ReadAheadBytes: 1}, 300 << 10, 3},
		{"in bytes", Config{ReadAheadBytes: 4 << 20}, 300 << 10, 13},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, stacktest.NATS(t).URL(), test.cfg)
			const n = 60
			publish(t, w.js, 1, n, test.padding)
			release := make(chan struct{})
			blocked := make(chan struct{})
			done := make(chan error, 1)
			var got []uint64
			go func() {
				done <- w.reader.Read(within(t), 0, wire.Place{}, func(_ context.Context, ev wire.Event) error {
					if got = append(got, ev.Message.Sequence); len(got) == 1 {
						close(blocked)
						<-release
					}
					if len(got) == n {
						return errEnough
					}
					return nil
				}, nil)
			}()
			<-blocked
			s, err := w.js.Stream(within(t), w.stream.Name())
			require.NoError(t, err)
			var sent uint64
			quiet := 0
			require.Eventually(t, func() bool { // until the server sends no more
				for c := range s.ListConsumers(context.Background()).Info() {
					if quiet++; c.Delivered.Stream != sent {
						sent, quiet = c.Delivered.Stream, 0
					}
				}
				return quiet > 20
			}, time.Minute, 10*time.Millisecond)
			require.LessOrEqual(t, sent, test.bound)
			require.NotZero(t, sent)
			close(release)
			require.ErrorIs(t, <-done, errEnough)
			require.Equal(t, from(1, n), got)
		})
	}
}

func TestConfigReportsAllViolations(t *testing.T) {
	t.Parallel()
	err := Config{
		Created: time.Unix(0, 1), ReadAheadMessages: -1, ReadAheadBytes: -1, Heartbeat: time.Millisecond,
		RequestTimeout: -1, MaxWait: -1, GoneAfter: -1, Partitions: 257, Sharing: Sharing{Gather: -1, Stall: -1, Pause: 2, MaxPause: 1},
	}.Validate()
	for _, want := range []string{
		"stream", "created", "subject prefix", "read-ahead messages", "read-ahead bytes", "heartbeat", "request timeout", "longest wait", "gone after",
		"partitions 257", "backlog 0", "distance 0", "gather -1ns", "takes nothing -1ns", "pauses 2ns to 1ns",
	} {
		require.ErrorContains(t, err, want)
	}
	_, err = New(nil, Config{}, zap.NewNop(), prometheus.NewRegistry())
	require.Error(t, err)
}
