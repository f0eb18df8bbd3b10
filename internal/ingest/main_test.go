package ingest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// The two halves of a partition's log fit together.
var _ partition.Log = struct {
	*Reader
	*stream.Stream
}{}

var subjects = wire.Subjects{Prefix: "persistd"}

// world is a log of one partition or a few, and a reader of it.
type world struct {
	js     jetstream.JetStream
	stream *stream.Stream
	reader *Reader
	reg    *prometheus.Registry
}

func connectTo(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return js
}

func newWorld(t *testing.T, url string, cfg Config) *world {
	t.Helper()
	return newWorldOf(t, url, cfg, 1)
}

func newWorldOf(t *testing.T, url string, cfg Config, partitions int) *world {
	t.Helper()
	w := &world{js: connectTo(t, url), reg: prometheus.NewRegistry()}
	var err error
	w.stream, err = stream.Ensure(within(t), w.js, stream.Config{Partitions: partitions, MaxBytes: 256 << 20}, zap.NewNop())
	require.NoError(t, err)
	cfg.Stream, cfg.Created, cfg.Subjects = w.stream.Name(), w.stream.Created(), subjects
	if cfg.Heartbeat == 0 { // a machine may have something else to do: a session that ends for that begins anew, and counts things twice
		cfg.Heartbeat = 2 * time.Second
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 100 * time.Millisecond
	}
	w.reader, err = New(w.js, cfg, zap.NewNop(), w.reg)
	require.NoError(t, err)
	return w
}

// within bounds what hangs; 64 MiB of steps take their time under the race detector.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// publish saves steps first to last of one run, with state bytes of padding each.
func publish(t *testing.T, js jetstream.JetStream, first, last, padding int) {
	t.Helper()
	pad := make([]byte, padding)
	for i := range pad {
		pad[i] = 'x'
	}
	for i := first; i <= last; i++ {
		_, err := js.PublishAsync(subjects.Write(wire.DefaultNamespace, wire.KindRun, "run-001"),
			fmt.Appendf(nil, `{"step":%d,"node_id":"n","state":"%s"}`, i, pad))
		require.NoError(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-within(t).Done():
		t.Fatal("publish: no acknowledgement")
	}
}

var errEnough = errors.New("enough")

// collect reads until the event at sequence last, and returns the sequences and steps that were delivered.
func collect(t *testing.T, r *Reader, after, last uint64) []uint64 {
	t.Helper()
	var got []uint64
	err := r.Read(within(t), 0, wire.Place{Sequence: after}, func(_ context.Context, ev wire.Event) error {
		got = append(got, ev.Message.Sequence)
		if ev.Message.Sequence == last {
			return errEnough
		}
		return nil
	}, nil)
	require.ErrorIs(t, err, errEnough)
	return got
}

func from(first, last uint64) (all []uint64) {
	for seq := first; seq <= last; seq++ {
		all = append(all, seq)
	}
	return all
}
