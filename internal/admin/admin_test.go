package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves what opts says on free ports until the test ends.
func start(t *testing.T, opts admin.Options) *admin.Server {
	t.Helper()
	s := newServer(t, opts)
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		require.NoError(t, s.Stop(ctx))
	})
	return s
}

func newServer(t *testing.T, opts admin.Options) *admin.Server {
	t.Helper()
	registry := prometheus.NewRegistry()
	opts.Gatherer, opts.Registerer, opts.Log = registry, registry, zap.NewNop()
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	if opts.Version == "" {
		opts.Version = "v0.0.0-test"
	}
	s, err := admin.New(opts)
	require.NoError(t, err)
	return s
}

// client keeps no connection open, so that none outlives the server it was made to.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

func get(t *testing.T, addr net.Addr, path string) (int, string) {
	t.Helper()
	resp, err := client.Get("http://" + addr.String() + path)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func passing(name string) admin.Check {
	return admin.Check{Name: name, Check: func(context.Context) error { return nil }}
}

func failing(name, reason string) admin.Check {
	return admin.Check{Name: name, Check: func(context.Context) error { return errors.New(reason) }}
}

func TestProbes(t *testing.T) {
	t.Parallel()
	s := start(t, admin.Options{
		Live:    []admin.Check{passing("loop")},
		Ready:   []admin.Check{passing("nats"), failing("mysql", "ping database:\n connection refused"), passing("leases")},
		Startup: []admin.Check{passing("schema")},
	})
	for _, row := range []struct {
		name, path string
		code       int
		body       string
	}{
		{"a probe that passes says ok", "/livez", 200, "ok"},
		{"verbose shows the checks", "/livez?verbose", 200, "[+]loop ok\nlivez check passed\n"},
		{"startup has checks of its own", "/startupz?verbose=1", 200, "[+]schema ok\nstartupz check passed\n"},
		{
			"a probe that fails shows the checks by itself, the reason on one line", "/readyz", 503,
			"[+]shutdown ok\n[+]nats ok\n[-]mysql failed: ping database: connection refused\n[+]leases ok\nreadyz check failed\n",
		},
		{"an excluded check does not count", "/readyz?exclude=mysql", 200, "ok"},
		{
			"an excluded check is shown as such", "/readyz?verbose&exclude=mysql&exclude=nats", 200,
			"[+]shutdown ok\n[+]nats excluded: ok\n[+]mysql excluded: ok\n[+]leases ok\nreadyz check passed\n",
		},
		{
			"excluding what does not exist is said", "/livez?verbose&exclude=postgres", 200,
			"[+]loop ok\nwarn: some checks cannot be excluded: no matches for [\"postgres\"]\nlivez check passed\n",
		},
		{
			"the root lists what there is", "/", 200,
			"persistd v0.0.0-test\n\n/livez?verbose\n/readyz?verbose\n/startupz?verbose\n/metrics\n",
		},
		{"nothing else is served", "/debug/pprof/", 404, "404 page not found\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, body := get(t, s.Addr(), row.path)
			require.Equal(t, row.code, code)
			require.Equal(t, row.body, body)
		})
	}
}

func TestAProbeOnlyReads(t *testing.T) {
	t.Parallel()
	s := start(t, admin.Options{})
	resp, err := client.Post("http://"+s.Addr().String()+"/livez", "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	resp, err = client.Head("http://" + s.Addr().String() + "/livez")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
}

func TestDrainingFailsReadinessAndNothingElse(t *testing.T) {
	t.Parallel()
	s := start(t, admin.Options{Ready: []admin.Check{passing("nats")}})
	code, _ := get(t, s.Addr(), "/readyz")
	require.Equal(t, 200, code)
	s.SetDraining()
	code, body := get(t, s.Addr(), "/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "[-]shutdown failed: the daemon is shutting down\n[+]nats ok\nreadyz check failed\n", body)
	for _, path := range []string{"/livez", "/startupz", "/metrics"} {
		code, _ := get(t, s.Addr(), path)
		require.Equal(t, 200, code, path)
	}
}

func TestChecksRunConcurrently(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup
	both.Add(2)
	meet := func(context.Context) error { // returns only once the other runs too
		both.Done()
		both.Wait()
		return nil
	}
	s := start(t, admin.Options{
		CheckTimeout: time.Minute,
		Ready:        []admin.Check{{Name: "a", Check: meet}, {Name: "b", Check: meet}},
	})
	code, body := get(t, s.Addr(), "/readyz")
	require.Equal(t, 200, code, body)
}

func TestACheckThatHangsFailsByNameAndIsNotRunTwice(t *testing.T) {
	t.Parallel()
	var running, runs atomic.Int32
	release := make(chan struct{})
	s := start(t, admin.Options{CheckTimeout: 500 * time.Millisecond, Ready: []admin.Check{
		passing("nats"),
		{Name: "mysql", Check: func(context.Context) error { // ignores its ctx, as it should not
			require.EqualValues(t, 1, running.Add(1))
			runs.Add(1)
			<-release
			running.Add(-1)
			return nil
		}},
	}})
	for range 5 {
		code, body := get(t, s.Addr(), "/readyz")
		require.Equal(t, 503, code)
		require.Regexp(t, `\[\+\]nats ok\n\[-\]mysql failed: no answer for \S+\n`, body)
	}
	require.EqualValues(t, 1, runs.Load())
	close(release)
	require.Eventually(t, func() bool {
		code, _ := get(t, s.Addr(), "/readyz")
		return code == 200
	}, time.Minute, time.Millisecond)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	s := start(t, admin.Options{Ready: []admin.Check{failing("mysql", "away")}})
	get(t, s.Addr(), "/readyz")
	get(t, s.Addr(), "/readyz?exclude=mysql")
	code, body := get(t, s.Addr(), "/metrics")
	require.Equal(t, 200, code)
	require.Contains(t, body, `persistd_health_check_failures_total{check="mysql",probe="readyz"} 1`)
	require.Contains(t, body, `persistd_health_check_failures_total{check="shutdown",probe="readyz"} 0`)
	require.Regexp(t, `persistd_build_info{goversion="go1[^"]*",version="v0.0.0-test"} 1`, body)
}

func TestMetricsAreNamedAsPrometheusAsks(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	opts := admin.Options{Registerer: registry, Ready: []admin.Check{passing("a")}, Version: "v1"}
	_, err := admin.New(opts)
	require.NoError(t, err)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	_, err = admin.New(opts)
	require.ErrorContains(t, err, "register admin metrics")
}

func TestTheProfilerIsOnAListenerOfItsOwnAndOnLoopbackOnly(t *testing.T) {
	t.Parallel()
	level := zap.NewAtomicLevel()
	s := start(t, admin.Options{DebugListen: "localhost:0", LogLevel: level})
	code, body := get(t, s.DebugAddr(), "/debug/pprof/goroutine?debug=1")
	require.Equal(t, 200, code)
	require.Contains(t, body, "goroutine profile")
	code, _ = get(t, s.DebugAddr(), "/livez")
	require.Equal(t, 404, code)

	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+s.DebugAddr().String()+"/debug/log-level",
		strings.NewReader(`{"level":"debug"}`))
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, zap.DebugLevel, level.Level())

	outside := newServer(t, admin.Options{DebugListen: "0.0.0.0:0"})
	require.ErrorContains(t, outside.Start(t.Context()), "is not a loopback address")
	require.NoError(t, outside.Stop(t.Context()))
}

func TestStartFailsFast(t *testing.T) {
	t.Parallel()
	taken := start(t, admin.Options{})
	s := newServer(t, admin.Options{Listen: taken.Addr().String()})
	require.ErrorContains(t, s.Start(t.Context()), "listen on "+taken.Addr().String())
	require.NoError(t, s.Stop(t.Context()))
	require.ErrorContains(t, taken.Start(t.Context()), "started or stopped before")

	// A second address that cannot be had takes the first one back.
	half := newServer(t, admin.Options{DebugListen: taken.Addr().String()})
	require.Error(t, half.Start(t.Context()))
	_, err := net.Dial("tcp", half.Addr().String())
	require.Error(t, err)
}
