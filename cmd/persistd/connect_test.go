package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/config"
)

// guardedNATS is a server that wants a password; it is on port, or on a free one when that is 0: below those that outgoing connections use, so that nobody
// takes it while the server is away.
func guardedNATS(t *testing.T, port int, users ...*server.User) *server.Server {
	t.Helper()
	for port == 0 {
		free := 20000 + rand.IntN(12000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", free)); err == nil {
			require.NoError(t, l.Close())
			port = free
		}
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: t.TempDir(), Users: users, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(time.Minute))
	return s
}

// notReady is what /readyz says of a daemon that comes up in vain.
func notReady(t *testing.T, natsURL string) func() string {
	t.Helper()
	s := &stack{t: t, url: natsURL, dsn: "u:hunter2@tcp(127.0.0.1:1)/none"}
	d := s.spawn("none")
	d.says(`"probes are answered"`)
	addr := d.address()
	return func() string {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return ""
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(body)
	}
}

func TestReadyzSaysWhatIsWrongWithNATS(t *testing.T) {
	t.Parallel()
	guarded := guardedNATS(t, 0,
		&server.User{Username: "full", Password: "hunter2"},
		&server.User{Username: "mute", Password: "hunter2", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.>"}}}})
	for name, tt := range map[string]struct{ url, want string }{
		"no server": {"nats://me:hunter2@127.0.0.1:1", "open log: no NATS server answers at nats://me:xxxxx@127.0.0.1:1: is it running, and reachable from here?"},
		"a wrong password": {
			"nats://full:hunter3@" + guarded.Addr().String(),
			"(check the user, password, token or credentials file)",
		},
		"no right to use JetStream": {"nats://mute:hunter2@" + guarded.Addr().String(), "(let the user publish to $JS.API.> and subscribe to its inbox)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := notReady(t, tt.url)
			require.Eventually(t, func() bool { return strings.Contains(body(), tt.want) }, time.Minute, 20*time.Millisecond, tt.want)
			for range 20 { // and goes on saying so, whichever attempt is looked at
				require.NotContains(t, body(), "hunter")
				require.Contains(t, body(), tt.want)
			}
		})
	}
}

func TestAConnectionOutlivesCredentialsThatAreRefusedForAWhile(t *testing.T) {
	t.Parallel()
	user := func(password string) *server.User { return &server.User{Username: "me", Password: password} }
	first := guardedNATS(t, 0, user("right"))
	port := first.Addr().(*net.TCPAddr).Port
	refusals := make(chan error, 100)
	nc, err := connectNATS(config.NATS{URL: "nats://me:right@" + first.Addr().String(), ConnectTimeout: 5 * time.Second}, "test", zap.NewNop(),
		nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	first.Shutdown()
	first.WaitForShutdown()
	second := guardedNATS(t, port, user("other"))
	require.Eventually(t, func() bool { return len(refusals) >= 3 || nc.IsClosed() }, 2*time.Minute, 10*time.Millisecond)
	require.False(t, nc.IsClosed(), "it has given up")
	require.ErrorIs(t, <-refusals, nats.ErrAuthorization)
	second.Shutdown()
	second.WaitForShutdown()
	guardedNATS(t, port, user("right"))
	require.Eventually(t, nc.IsConnected, 2*time.Minute, 10*time.Millisecond)
}
