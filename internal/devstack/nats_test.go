package devstack_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// js connects to url until t ends.
func js(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	c, err := nats.Connect(url)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	j, err := jetstream.New(c)
	require.NoError(t, err)
	return j
}

func publishOne(t *testing.T, url string) {
	t.Helper()
	j := js(t, url)
	_, err := j.CreateStream(t.Context(), jetstream.StreamConfig{Name: "kept", Subjects: []string{"kept"}})
	require.NoError(t, err)
	_, err = j.Publish(t.Context(), "kept", []byte("1"))
	require.NoError(t, err)
}

func requireOne(t *testing.T, url string) {
	t.Helper()
	s, err := js(t, url).Stream(t.Context(), "kept")
	require.NoError(t, err)
	require.Equal(t, uint64(1), s.CachedInfo().State.Msgs)
}

func TestEmbeddedNATSRestartKeepsURLAndStreams(t *testing.T) {
	t.Parallel()
	n := stacktest.NATS(t)
	url := n.URL()
	publishOne(t, url)
	require.NoError(t, n.Restart(t.Context()))
	require.Equal(t, url, n.URL())
	requireOne(t, url)

	require.NoError(t, n.Stop())
	require.NoError(t, n.Stop(), "a second stop is no error")
	_, err := nats.Connect(url)
	require.ErrorIs(t, err, nats.ErrNoServers)
	require.NoError(t, n.Restart(t.Context()))
	requireOne(t, url)
}

func TestEmbeddedNATSOnATakenPortReturnsTheReason(t *testing.T) {
	t.Parallel()
	n, err := devstack.StartNATS(t.Context(), devstack.NATSOptions{Dir: t.TempDir()})
	require.NoError(t, err)
	port := portOf(t, n.URL())
	_, err = devstack.StartNATS(t.Context(), devstack.NATSOptions{Dir: t.TempDir(), Port: port})
	require.ErrorContains(t, err, "address already in use")
	require.NoError(t, n.Stop())
}

func TestNATSFolderServesOneServerAtATime(t *testing.T) {
	t.Parallel()
	n := stacktest.NATS(t)
	_, err := devstack.StartNATS(t.Context(), devstack.NATSOptions{Dir: n.Dir()})
	require.ErrorContains(t, err, "in use by another server (pid ")
}

func TestKilledNATSProcessKeepsWhatItAcknowledged(t *testing.T) {
	t.Parallel()
	n := stacktest.NATSProcess(t)
	url, pid, done := n.URL(), n.Pid(), n.Done()
	publishOne(t, url)

	n.Kill()
	<-done
	require.NoError(t, n.Restart(t.Context()))
	require.NotEqual(t, pid, n.Pid())
	require.Equal(t, url, n.URL())
	requireOne(t, url)

	require.NoError(t, n.Stop(t.Context()))
	require.NoError(t, n.Stop(t.Context()), "a second stop is no error")
}

func TestNATSProcessOnATakenPortReturnsItsLog(t *testing.T) {
	t.Parallel()
	n := stacktest.NATSProcess(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := devstack.StartNATSProcess(ctx, devstack.NATSOptions{Dir: t.TempDir(), Port: portOf(t, n.URL())})
	require.ErrorContains(t, err, "address already in use")
}
