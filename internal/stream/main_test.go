package stream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

var subjects = wire.Subjects{Prefix: "persistd"}

// connect returns JetStream on a server of the test's own.
func connect(t *testing.T) jetstream.JetStream {
	t.Helper()
	return connectTo(t, stacktest.NATS(t).URL())
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

// within bounds a test, so that what waits for ever fails.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// ensure makes the log of cfg.
func ensure(t *testing.T, js jetstream.JetStream, cfg Config) *Stream {
	t.Helper()
	s, err := Ensure(within(t), js, cfg, zap.NewNop())
	require.NoError(t, err)
	return s
}

func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	return zap.New(core), logs
}

func stepBody(step int) string {
	return fmt.Sprintf(`{"step":%d,"node_id":"n","state":{"n":%d}}`, step, step)
}

// save publishes a step as a worker does and returns its sequence.
func save(t *testing.T, js jetstream.JetStream, run string, step int) uint64 {
	t.Helper()
	ack, err := js.Publish(within(t), subjects.Write(wire.DefaultNamespace, wire.KindRun, run), []byte(stepBody(step)))
	require.NoError(t, err)
	return ack.Sequence
}

// partitionOf is where the server puts a run's events.
func partitionOf(run string, partitions int) int {
	return wire.Partition(wire.DefaultNamespace, run, partitions)
}

func info(t *testing.T, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	s, err := js.Stream(within(t), name)
	require.NoError(t, err)
	return s.CachedInfo()
}
