package client

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// forbidding is the options of a server whose user worker may not publish to the subjects, and on which nobody answers.
func forbidding(port int, subjects ...string) *server.Options {
	worker := &server.User{Username: "worker", Password: "pw"}
	if len(subjects) > 0 {
		worker.Permissions = &server.Permissions{Publish: &server.SubjectPermission{Deny: subjects}}
	}
	return &server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, Users: []*server.User{worker, {Username: "log", Password: "pw"}},
	}
}

// The user was not allowed to, and is now. What is sent then arrives, and is not answered in time.
func TestAnOldRefusalIsNotTheReasonOfALaterSilence(t *testing.T) {
	t.Parallel()
	subjects := wire.Subjects{Prefix: "persistd"}
	write, read := subjects.Write(wire.DefaultNamespace, wire.KindRun, "run"), subjects.Read(wire.DefaultNamespace, wire.VerbLatest)
	for name, shared := range map[string]bool{"the client's own connection": false, "a shared connection": true} {
		for what, call := range map[string]func(ctx context.Context, e *engine) error{
			"write": func(ctx context.Context, e *engine) error { return e.apply(ctx, oneStep("run", 1, Logged)) },
			"read": func(ctx context.Context, e *engine) error {
				_, err := e.latest(ctx, "run")
				return err
			},
		} {
			t.Run(what+" on "+name, func(t *testing.T) {
				t.Parallel()
				s, err := server.NewServer(forbidding(server.RANDOM_PORT, write, read))
				require.NoError(t, err)
				s.Start()
				t.Cleanup(func() {
					s.Shutdown()
					s.WaitForShutdown()
				})
				require.True(t, s.ReadyForConnections(10*time.Second))
				cfg, err := newConfig([]Option{WithCloseTimeout(0), WithAttemptTimeout(100 * time.Millisecond)})
				require.NoError(t, err)
				worker := nats.UserInfo("worker", "pw")
				if cfg.natsOptions = append(cfg.natsOptions, worker); shared {
					cfg.conn, err = nats.Connect(s.ClientURL(), worker, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
					require.NoError(t, err)
					t.Cleanup(cfg.conn.Close)
				}
				e, err := openEngine(t.Context(), s.ClientURL(), cfg)
				require.NoError(t, err)
				t.Cleanup(func() { _ = e.close() })
				require.ErrorIs(t, call(t.Context(), e), ErrPermission)

				require.NoError(t, s.ReloadOptions(forbidding(s.Addr().(*net.TCPAddr).Port)))
				log, err := nats.Connect(s.ClientURL(), nats.UserInfo("log", "pw"))
				require.NoError(t, err)
				t.Cleanup(log.Close)
				arrived := make(chan *nats.Msg, 100)
				_, err = log.ChanSubscribe("persistd.>", arrived)
				require.NoError(t, err)
				require.NoError(t, log.Flush())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				outcome := make(chan error, 1)
				go func() { outcome <- call(ctx, e) }()
				for range 2 { // so that the first was silent
					select {
					case <-arrived:
					case err := <-outcome:
						require.NoError(t, err)
					}
				}
				cancel()
				require.NotErrorIs(t, <-outcome, ErrPermission)
				require.Zero(t, e.nc.Stats().Reconnects, "it is the same connection")
			})
		}
	}
}
