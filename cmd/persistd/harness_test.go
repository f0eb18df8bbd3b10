package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// childVariable makes this test binary a daemon: its value is the fault to inject, or "none".
const childVariable = "PERSISTD_TEST_CHILD"

func TestMain(m *testing.M) {
	if fault, ok := os.LookupEnv(childVariable); ok {
		if err := childMain(fault); err != nil {
			fmt.Fprintln(os.Stderr, "persistd:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && (os.Args[1] == "serve" || os.Args[1] == "replay") { // the demo's daemon is this binary, run as persistd is; and a replay to be killed
		main()
		os.Exit(0)
	}
	stacktest.Main(m)
}

// childMain is main with a fault between batcher and store.
func childMain(fault string) error {
	h, err := faultHooks(fault)
	if err != nil {
		return err
	}
	var flags config.Flags
	cfg, err := parseFlags(&flags)
	if err != nil {
		return err
	}
	first, second, stop := signals(context.Background())
	defer stop()
	return serve(first, second, cfg, std{os.Stdout, os.Stderr}, h, nil)
}

// stack is a log and a database of a test's own, and the daemons on them.
type stack struct {
	t   testing.TB
	url string
	dsn string
	// daemonDSN is the daemons', where it is another: with several addresses.
	daemonDSN string
	db        *sql.DB
	nc        *nats.Conn
	js        jetstream.JetStream

	server *devstack.NATS // of sharedStack; nil else
}

// newStack is a stack on servers that are there already.
func newStack(t testing.TB, url, dsn string) *stack {
	t.Helper()
	s := &stack{t: t, url: url, dsn: dsn}
	cfg, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	cfg.Logger = &mysql.NopLogger{} // a killed server is no news here
	connector, err := mysql.NewConnector(cfg)
	require.NoError(t, err)
	s.db = sql.OpenDB(connector)
	t.Cleanup(func() {
		if err := s.db.Close(); !errors.Is(err, driver.ErrBadConn) { // of a connection to a server that was killed
			require.NoError(t, err)
		}
	})
	s.nc, err = nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.PingInterval(2*time.Second))
	require.NoError(t, err)
	t.Cleanup(s.nc.Close)
	s.js, err = jetstream.New(s.nc)
	require.NoError(t, err)
	return s
}

// sharedStack has a nats-server of its own and a database of its own on the shared server.
func sharedStack(t testing.TB) *stack {
	t.Helper()
	server := stacktest.NATS(t)
	s := newStack(t, server.URL(), stacktest.Database(t))
	s.server = server
	return s
}

// settings is the environment of a daemon on the stack; more are added as KEY=value.
func (s *stack) settings(more ...string) map[string]string {
	env := map[string]string{
		"PERSISTD_NATS_URL": s.url, "PERSISTD_MYSQL_DSN": cmp.Or(s.daemonDSN, s.dsn), "PERSISTD_HTTP_LISTEN": "127.0.0.1:0",
		"PERSISTD_INSTANCE": "test", "PERSISTD_LOG_LEVEL": "info", "PERSISTD_STREAM_MAX_BYTES": "1GiB",
	}
	for _, kv := range more {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return env
}

// inProcess is a daemon in the test's own process, with hooks.
type inProcess struct {
	*daemon
	upAt time.Time // when it began to read
	stop func() error
}

// serveHere runs a daemon in this process until stop is called, or the test ends.
func (s *stack) serveHere(h hooks, more ...string) *inProcess {
	s.t.Helper()
	env := s.settings(more...)
	var flags config.Flags
	cfg, err := parseFlagsFrom(&flags, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	up, done := make(chan *daemon, 1), make(chan error, 1)
	out := &tail{}
	go func() { done <- serve(ctx, context.Background(), cfg, std{out, out}, h, func(d *daemon) { up <- d }) }()
	p := &inProcess{stop: sync.OnceValue(func() error { cancel(); return <-done })}
	s.t.Cleanup(func() {
		if err := p.stop(); err != nil || s.t.Failed() {
			s.t.Logf("daemon: %v\n%s", err, out)
		}
	})
	select {
	case p.daemon = <-up:
		p.upAt = time.Now()
	case err := <-done:
		done <- err
		require.FailNow(s.t, "daemon ended", "%v\n%s", err, out)
	case <-time.After(time.Minute):
		require.FailNow(s.t, "daemon does not come up", "%s", out)
	}
	return p
}

// open opens a client, closed when the test ends.
func (s *stack) open(opts ...client.Option) client.Store[json.RawMessage] {
	s.t.Helper()
	st, err := client.Open[json.RawMessage](s.t.Context(), s.url, opts...)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = st.Close() })
	return st
}

// rows counts workflow_steps where the condition holds; -1 while the database is away or has no table.
func (s *stack) rows(where string, args ...any) int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var n int
	if err := s.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM workflow_steps WHERE "+where, args...).Scan(&n); err != nil {
		return -1
	}
	return n
}

// eventually waits for a condition that takes the servers' time, not the test's.
func (s *stack) eventually(what string, ok func() bool) {
	s.t.Helper()
	require.Eventually(s.t, ok, 2*time.Minute, 10*time.Millisecond, what)
}

// tail keeps the end of what is written.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p)
	if t.b.Len() > 1<<20 {
		t.b.Next(t.b.Len() - 1<<19)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// parseFlags makes a configuration of the environment.
func parseFlags(flags *config.Flags) (config.Config, error) {
	return parseFlagsFrom(flags, os.LookupEnv)
}

func parseFlagsFrom(flags *config.Flags, env config.LookupEnv) (config.Config, error) {
	parser, err := newParser(flags, env)
	if err != nil {
		return config.Config{}, err
	}
	if _, err := parser.Parse(nil); err != nil {
		return config.Config{}, err
	}
	cfg, err := flags.Complete(env)
	if err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

// storeFunc is a batcher.Store of one function.
type storeFunc func(context.Context, *batcher.Batch) error

func (f storeFunc) Commit(ctx context.Context, b *batcher.Batch) error { return f(ctx, b) }
