package client_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

func TestOpenWithoutAServerFailsAndDoesNotShowThePassword(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	addr := ln.Addr().String()

	_, err = client.Open[state](t.Context(), "nats://worker:hunter2@"+addr+",nats://s3cret@"+addr)
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, addr)
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, err.Error(), "s3cret")
	var typed *client.Error
	require.ErrorAs(t, err, &typed)
	require.NotEmpty(t, typed.Hint)

	_, err = client.Open[state](t.Context(), "nats://worker:hunter2@ho st:4222")
	require.ErrorIs(t, err, client.ErrInvalidOption)
	require.NotContains(t, err.Error(), "hunter2")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.Open[state](ended, "nats://"+addr)
	require.ErrorIs(t, err, context.Canceled)
}

func TestOpenIsBoundedByItsCtx(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer func() { require.NoError(t, ln.Close()) }()
	started := time.Now()
	_, err = client.Open[state](within(t, soon), "nats://"+ln.Addr().String())
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.Less(t, time.Since(started), 4*time.Second)
}

func TestOpenReportsEverythingThatIsWrongWithItsOptions(t *testing.T) {
	t.Parallel()
	_, err := client.Open[state](t.Context(), "", client.WithDurability(0), client.WithNamespace("a.b"), client.WithPrefix("a..b"),
		client.WithMaxInFlight(0, 0), client.WithTimeout(0), client.WithAttemptTimeout(0), client.WithRetryLimit(0), client.WithCloseTimeout(-1),
		client.WithCompression(-1), client.WithMaxDepth(101), client.WithLogger(nil))
	require.ErrorIs(t, err, client.ErrInvalidOption)
	for _, part := range []string{
		"durability", "namespace", "prefix", "0 steps", "0 bytes", "timeout is 0s", "attempt timeout", "retry limit", "close timeout",
		"compression threshold", "max depth is 101", "logger", "URL is empty",
	} {
		require.ErrorContains(t, err, part)
	}
	_, err = client.Open[state](t.Context(), "nats://x", client.WithConn(&nats.Conn{}), client.WithNATSOptions(nats.Name("x")))
	require.ErrorContains(t, err, "both a connection and a URL")
	require.ErrorContains(t, err, "both a connection and NATS options")
}

// restricted starts a server with a log and the users worker, who may do what a worker needs, narrow, who may not write one run, reader, who may
// not write, and mute, who has no inbox.
func restricted(t *testing.T) *thelog {
	t.Helper()
	allow := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Allow: subjects} }
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: "admin", Password: "pw"},
			{Username: "worker", Password: "pw", Permissions: &server.Permissions{
				Publish: allow("persistd.write.default.>", "persistd.read.default.>"), Subscribe: allow("_INBOX.>"),
			}},
			{Username: "narrow", Password: "pw", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: []string{"persistd.write.default.run.forbidden"}},
			}},
			{Username: "reader", Password: "pw", Permissions: &server.Permissions{
				Publish: allow("persistd.read.team.>"), Subscribe: allow("_INBOX.>"),
			}},
			{Username: "mute", Password: "pw", Permissions: &server.Permissions{Subscribe: allow("nothing")}},
		},
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(eventually))
	l := observe(t, s.ClientURL(), nats.UserInfo("admin", "pw"))
	l.create(t, -1)
	return l
}

func TestWhatTheServerForbidsIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	l := restricted(t)
	startPersistd(t, l)
	as := func(user string) client.Option { return client.WithNATSOptions(nats.UserInfo(user, "pw")) }

	worker := l.open(t, as("worker"))
	require.NoError(t, worker.SaveStep(t.Context(), "run", 1, "", state{}), "a worker needs no other permission")
	_, _, err := worker.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.NoError(t, worker.Ping(t.Context()))

	var heard []error
	core, logs := observer.New(zap.WarnLevel)
	reader := l.open(t, as("reader"), client.WithLogger(zap.New(core)), client.WithAttemptTimeout(time.Hour), client.WithErrorHandler(func(err error) { heard = append(heard, err) }))
	err = reader.SaveStep(t.Context(), "run", 1, "", state{})
	require.ErrorIs(t, err, client.ErrPermission)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
	require.ErrorContains(t, err, "publish to persistd.write.default.run.run")
	require.NoError(t, reader.SaveStep(async(t.Context()), "run", 2, "", state{}))
	require.ErrorIs(t, reader.Flush(t.Context()), client.ErrPermission)
	require.Len(t, heard, 1)
	_, _, err = reader.LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, client.ErrPermission)
	require.Eventually(t, func() bool { return logs.Len() > 0 }, eventually, poll, "what is connected is logged, not printed")

	_, err = client.Open[state](t.Context(), l.url, as("mute"))
	require.ErrorIs(t, err, client.ErrPermission)
	require.ErrorContains(t, err, "inbox")

	_, err = client.Open[state](t.Context(), l.url, client.WithNATSOptions(nats.UserInfo("worker", "hunter2")))
	require.ErrorIs(t, err, client.ErrPermission)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAForbiddenPublishOnASharedConnectionIsSaidAfterAnAttempt(t *testing.T) {
	t.Parallel()
	l := restricted(t)
	nc, err := nats.Connect(l.url, nats.UserInfo("reader", "pw"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	defer nc.Close()
	st := open[state](t, "", client.WithConn(nc), client.WithAttemptTimeout(soon))
	require.ErrorIs(t, st.SaveStep(t.Context(), "run", 1, "", state{}), client.ErrPermission)
	_, _, err = st.LoadLatest(t.Context(), "run")
	require.ErrorIs(t, err, client.ErrPermission)
}

func TestNoErrorShowsAState(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	st := open[any](t, l.url, client.WithCompression(0))
	for _, bad := range []any{
		map[string]any{"secret": "hunter2", "f": func() {}},
		strings.Repeat("hunter2", wire.MaxBody/7),
		strings.Repeat("hunter2", 1<<20/7+1),
	} {
		err := st.SaveStep(t.Context(), "run", 1, "", bad)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
