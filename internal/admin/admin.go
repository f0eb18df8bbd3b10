// Package admin is the side of the daemon that is seen from outside: who probes it, scrapes it or profiles it.
//
//	GET /livez      the process works; a restart would help if it did not. Never asks MySQL or NATS: their outage is
//	                waited for, and restarting all replicas would only add to it.
//	GET /readyz     requests may be sent here: every check passes and the daemon is not draining
//	GET /startupz   what must happen once, at start, has happened
//	GET /metrics    Prometheus, or OpenMetrics where asked for
//	    /debug/…    the profiler and the log level, on a listener of their own, loopback only, off by default
//
// The probes answer as kube-apiserver's do: 200 "ok", or 503 and the checks, each with its reason; ?verbose shows them
// always, ?exclude=name leaves one out. Checks run concurrently, each under a timeout and never twice at a time, so that
// one that hangs costs one goroutine and fails by name.
//
//	new ──Start──▶ serving ──SetDraining──▶ serving, not ready ──Stop──▶ stopped
//	 └─────────────────────────────Stop──────────────────────────────────▶
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Check is one thing that must be right. The consumer decides which checks make it alive, ready and started.
type Check struct {
	// Name stands in the answer and in ?exclude=; it is a short constant such as "mysql".
	Name string
	// Check returns nil, or the reason, which is shown to whoever asks: no secrets. It may block until ctx ends, which is
	// soon, and is never called again before it has returned.
	Check func(ctx context.Context) error
}

// Options is what a Server is made of.
type Options struct {
	// Listen is the address of the probes and metrics, host:port. Required.
	Listen string
	// DebugListen is the address of the profiler, on loopback. Empty means off.
	DebugListen string
	// Version of the build, for persistd_build_info. Required.
	Version string
	// Live, Ready and Startup are the checks behind each probe. None means that answering is enough.
	Live, Ready, Startup []Check
	// CheckTimeout bounds each check. Zero means 2s: kubelet waits 1s by default, and ours 3s, for the whole answer.
	CheckTimeout time.Duration
	// LogLevel is served as /debug/log-level next to the profiler. Nil means that there is none.
	LogLevel http.Handler
	// Gatherer is what /metrics shows. Required.
	Gatherer prometheus.Gatherer
	// Registerer takes this package's own metrics. Required.
	Registerer prometheus.Registerer
	// Log is required.
	Log *zap.Logger
}

// Server serves the endpoints above. It is made by New, started once and stopped once.
type Server struct {
	opts     Options
	probes   [3]*probe // livez, readyz, startupz
	draining atomic.Bool

	ctx    context.Context //nolint:containedctx // of the checks; ends at Stop: there is no call that it could come with.
	cancel context.CancelCauseFunc
	begin  sync.Mutex     // guards the beginning of a check against the end of ctx: none is begun once Stop waits
	wg     sync.WaitGroup // listeners' and checks' goroutines
	failed chan error     // a listener that stopped by itself; buffered for all of them

	mu      sync.Mutex // guards what follows; held across listening, which does not wait for anybody
	state   state
	servers []*http.Server
	addrs   []net.Addr
}

type state int

const (
	stateNew state = iota
	stateServing
	stateStopped
)

var errStopping = errors.New("the daemon is shutting down")

// New makes a server that does nothing yet, and registers its metrics.
func New(opts Options) (*Server, error) {
	if opts.CheckTimeout == 0 {
		opts.CheckTimeout = 2 * time.Second
	}
	s := &Server{opts: opts, failed: make(chan error, 2)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	m, err := newMetrics(opts.Registerer, opts.Version)
	if err != nil {
		return nil, err
	}
	shutdown := Check{Name: "shutdown", Check: func(context.Context) error {
		if s.draining.Load() {
			return errStopping
		}
		return nil
	}}
	s.probes = [3]*probe{
		s.newProbe("livez", m, opts.Live),
		s.newProbe("readyz", m, append([]Check{shutdown}, opts.Ready...)),
		s.newProbe("startupz", m, opts.Startup),
	}
	return s, nil
}

// Start listens, on both addresses or on none, and returns once connections are accepted. ctx bounds only that.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateNew {
		return errors.New("start admin server: started or stopped before")
	}
	outside, err := listen(ctx, s.opts.Listen)
	if err != nil {
		return err
	}
	s.serve(outside, s.outside())
	if s.opts.DebugListen != "" {
		debug, err := listenLoopback(ctx, s.opts.DebugListen)
		if err != nil {
			return errors.Join(err, s.stopLocked(ctx))
		}
		s.serve(debug, s.debug())
	}
	s.state = stateServing
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return l, nil
}

// listenLoopback looks at the address that was bound, since a name such as localhost can mean anything.
func listenLoopback(ctx context.Context, addr string) (net.Listener, error) {
	l, err := listen(ctx, addr)
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("listen on %s: %s is not a loopback address", addr, l.Addr()), l.Close())
	}
	return l, nil
}

// serve is called with mu held.
func (s *Server) serve(l net.Listener, srv *http.Server) {
	srv.ErrorLog = zap.NewStdLog(s.opts.Log)
	s.servers = append(s.servers, srv)
	s.addrs = append(s.addrs, l.Addr())
	s.wg.Go(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
	})
}

// Failed delivers the error of a listener that ended without Stop; the daemon can then not be probed any more.
func (s *Server) Failed() <-chan error { return s.failed }

// Addr is where the probes are served, and DebugAddr where the profiler is; nil before Start or when there is none.
func (s *Server) Addr() net.Addr { return s.addr(0) }

// DebugAddr is where the profiler is served.
func (s *Server) DebugAddr() net.Addr { return s.addr(1) }

func (s *Server) addr(i int) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.addrs) {
		return nil
	}
	return s.addrs[i]
}

// SetDraining makes /readyz fail from now on, whatever the checks say, and leaves everything else as it is. Called first at
// shutdown, so that whoever routes requests learns of it while they are still answered.
func (s *Server) SetDraining() { s.draining.Store(true) }

// Stop stops listening, lets running requests finish until ctx ends, cancels the checks and waits for them, also until ctx
// ends. It may be called again, and before Start.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked(ctx)
}

// stopLocked holds mu while it waits, at most until ctx ends: what would be kept from running is Start, Addr and another
// Stop, and those have to wait for it anyway.
func (s *Server) stopLocked(ctx context.Context) error {
	s.state = stateStopped
	s.begin.Lock()
	s.cancel(errStopping)
	s.begin.Unlock()
	var errs []error
	for _, srv := range s.servers {
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop admin server: %w", err), srv.Close())
		}
	}
	s.servers = nil
	done := make(chan struct{})
	go func() { // ends with the last of the goroutines it waits for
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		select {
		case <-done: // both were ready
		default:
			errs = append(errs, fmt.Errorf("wait for health checks: %w", ctx.Err()))
		}
	}
	return errors.Join(errs...)
}
