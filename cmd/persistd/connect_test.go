package main

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/config"
)

// A server that refuses the credentials for a while, because they are being exchanged, must not end the connection for good: nobody
// would make another, and the replica would live on without ever applying an event.
func TestConnectionOutlivesCredentialsThatAreRefusedForAWhile(t *testing.T) {
	t.Parallel()
	end := func(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }
	start := func(port int, password string) *server.Server {
		s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, Username: "persistd", Password: password})
		require.NoError(t, err)
		s.Start()
		require.True(t, s.ReadyForConnections(10*time.Second))
		t.Cleanup(func() { end(s) })
		return s
	}
	right := start(server.RANDOM_PORT, "right")
	port := right.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it listens on TCP.
	nc, err := connectNATS(config.NATS{URL: right.ClientURL(), User: "persistd", Password: "right", ConnectTimeout: time.Second}, "test", zap.NewNop(),
		nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))
	require.NoError(t, err)
	defer nc.Close()

	end(right)
	wrong := start(port, "wrong")
	require.Eventually(t, func() bool {
		v, err := wrong.Varz(nil)
		return err == nil && v.TotalConnections >= 4 || nc.IsClosed()
	}, 20*time.Second, 5*time.Millisecond, "it does not try again")
	end(wrong)
	start(port, "right")
	require.Eventually(t, nc.IsConnected, 20*time.Second, 5*time.Millisecond, "the connection has ended for good")
}
