package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// I4, and each event once: whatever happens to the server in the middle.
func TestReadSurvives(t *testing.T) {
	t.Parallel()
	const n = 300
	tests := []struct {
		name   string
		happen func(t *testing.T, w *world, n *devstack.NATSProcess)
	}{
		{"the server is killed and comes back", func(t *testing.T, _ *world, n *devstack.NATSProcess) {
			n.Kill()
			require.NoError(t, n.Restart(within(t)))
		}},
		{"the server is restarted", func(t *testing.T, _ *world, n *devstack.NATSProcess) {
			require.NoError(t, n.Restart(within(t)))
		}},
		{"the consumer is deleted", func(t *testing.T, w *world, _ *devstack.NATSProcess) {
			s, err := w.js.Stream(within(t), w.stream.Name())
			require.NoError(t, err)
			for name := range s.ConsumerNames(within(t)).Name() {
				require.NoError(t, s.DeleteConsumer(within(t), name))
			}
		}},
		{"the connection breaks", func(t *testing.T, w *world, _ *devstack.NATSProcess) {
			require.NoError(t, w.js.Conn().ForceReconnect())
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := stacktest.NATSProcess(t)
			w := newWorld(t, server.URL(), Config{ReadAheadMessages: 16})
			publish(t, w.js, 1, n/2, 100)
			got := make(chan uint64, 2*n)
			ctx, cancel := context.WithCancel(within(t))
			done := make(chan error, 1)
			go func() {
				done <- w.reader.Read(ctx, 0, wire.Place{}, func(_ context.Context, ev wire.Event) error { got <- ev.Message.Sequence; return nil }, nil)
			}()
			receive := func(first, last uint64) {
				t.Helper()
				for want := first; want <= last; want++ {
					select {
					case seq := <-got:
						require.Equal(t, want, seq)
					case <-time.After(30 * time.Second):
						t.Fatalf("event %d does not come", want)
					}
				}
			}
			receive(1, 20)
			test.happen(t, w, server) // in the middle of reading
			receive(21, n/2)
			test.happen(t, w, server) // while the reader waits
			writer := connectTo(t, server.URL())
			publish(t, writer, n/2+1, n, 100)
			receive(n/2+1, n)
			require.NotZero(t, testutil.ToFloat64(w.reader.metrics.resets.WithLabelValues("0")))
			cancel()
			require.ErrorIs(t, <-done, context.Canceled)
			require.Empty(t, got, "delivered twice")
		})
	}
}

// No patience of the reader's is in the way: neither that with the server's silence, nor with a request's answer, nor between two attempts.
func TestAReaderIsBackAsSoonAsTheServerIs(t *testing.T) {
	t.Parallel()
	server := stacktest.NATSProcess(t)
	w := newWorld(t, server.URL(), Config{Heartbeat: time.Hour, RequestTimeout: time.Hour, MaxWait: time.Hour})
	publish(t, w.js, 1, 10, 100)
	got := make(chan uint64, 100)
	ctx, cancel := context.WithCancel(within(t))
	done := make(chan error, 1)
	go func() {
		done <- w.reader.Read(ctx, 0, wire.Place{}, func(_ context.Context, ev wire.Event) error { got <- ev.Message.Sequence; return nil }, nil)
	}()
	receive := func(first, last uint64) {
		t.Helper()
		for want := first; want <= last; want++ {
			select {
			case seq := <-got:
				require.Equal(t, want, seq)
			case <-ctx.Done():
				t.Fatalf("event %d does not come", want)
			}
		}
	}
	receive(1, 10)
	for first := uint64(11); first < 40; first += 10 {
		server.Kill()
		require.NoError(t, server.Restart(within(t)))
		publish(t, connectTo(t, server.URL()), int(first), int(first)+9, 100)
		receive(first, first+9)
	}
	server.Kill() // and while it is away, the reader waits for the connection, and ends as it is told
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestReadRefusesAnotherLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{GoneAfter: 200 * time.Millisecond})
	publish(t, w.js, 1, 3, 0)
	got := make(chan uint64, 10)
	read := func(after uint64) chan error {
		done := make(chan error, 1)
		go func() {
			done <- w.reader.Read(within(t), 0, wire.Place{Sequence: after}, func(_ context.Context, ev wire.Event) error { got <- ev.Message.Sequence; return nil }, nil)
		}()
		return done
	}
	err := <-read(4)
	require.ErrorIs(t, err, ErrShort)
	require.ErrorContains(t, err, "ends at 3, the position is 4")

	done := read(2)
	require.Equal(t, uint64(3), <-got)
	require.NoError(t, w.js.DeleteStream(within(t), w.stream.Name()))
	err = <-done
	require.ErrorIs(t, err, ErrOther)
	require.ErrorIs(t, err, jetstream.ErrStreamNotFound)

	_, err = stream.Ensure(within(t), w.js, stream.Config{Partitions: 1}, zap.NewNop())
	require.NoError(t, err)
	publish(t, w.js, 1, 5, 0)
	require.ErrorIs(t, <-read(2), ErrOther)
	require.Empty(t, got, "sequences of another log")
}

func TestReadWaitsForAStreamThatIsGoneForAMoment(t *testing.T) {
	t.Parallel()
	server := stacktest.NATS(t)
	w := newWorld(t, server.URL(), Config{GoneAfter: time.Minute})
	publish(t, w.js, 1, 1, 0)
	cfg := w.reader.cfg
	cfg.Stream = "LATER"
	r, err := New(w.js, cfg, zap.NewNop(), prometheus.NewRegistry())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(within(t))
	done := make(chan error, 1)
	go func() {
		done <- r.Read(ctx, 0, wire.Place{}, func(context.Context, wire.Event) error { return nil }, nil)
	}()
	require.Eventually(t, func() bool { return testutil.ToFloat64(r.metrics.resets.WithLabelValues("0")) > 2 }, time.Minute, 10*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestReadEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stacktest.NATS(t).URL(), Config{})
	done := make(chan error, 1)
	delivered := make(chan struct{}, 1)
	go func() {
		done <- w.reader.Read(within(t), 0, wire.Place{}, func(context.Context, wire.Event) error { delivered <- struct{}{}; return nil }, nil)
	}()
	publish(t, w.js, 1, 1, 0)
	<-delivered
	w.js.Conn().Close()
	require.ErrorIs(t, <-done, nats.ErrConnectionClosed)
}

// A log that is trimmed to nothing still knows where it ends, also after its server was killed: that is not a log that lost its end.
func TestReadAfterAllWasTrimmedAndTheServerKilled(t *testing.T) {
	t.Parallel()
	server := stacktest.NATSProcess(t)
	w := newWorld(t, server.URL(), Config{})
	publish(t, w.js, 1, 50, 100)
	require.NoError(t, w.stream.Trim(within(t), 0, wire.Place{Sequence: 50}, time.Now().Add(time.Hour)))
	server.Kill()
	require.NoError(t, server.Restart(within(t)))
	info, err := stream.Ensure(within(t), connectTo(t, server.URL()), stream.Config{Partitions: 1}, zap.NewNop())
	require.NoError(t, err)
	require.Equal(t, w.stream.Created(), info.Created())
	publish(t, connectTo(t, server.URL()), 51, 51, 100)
	require.Equal(t, []uint64{51}, collect(t, w.reader, 50, 51))
}
