package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

type metrics struct {
	failures *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, version string) (*metrics, error) {
	m := &metrics{failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "persistd_health_check_failures_total",
		Help: "Times a health check made a probe fail, by probe and check.",
	}, []string{"probe", "check"})}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "persistd_build_info",
		Help:        "Always 1; the labels tell which build of persistd this is.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{m.failures, build} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register admin metrics: %w", err)
		}
	}
	return m, nil
}

// outside is the server of the probes and metrics. Its limits hold against whoever reaches the port: 10s for a request
// of a few hundred bytes, and 30s for an answer, where the largest, /metrics, takes milliseconds.
func (s *Server) outside() *http.Server {
	mux := http.NewServeMux()
	for _, p := range s.probes {
		mux.Handle("GET /"+p.name, p)
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.opts.Gatherer, promhttp.HandlerOpts{
		ErrorLog:            zap.NewStdLog(s.opts.Log),
		MaxRequestsInFlight: 4,
		EnableOpenMetrics:   true,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "persistd %s\n\n/livez?verbose\n/readyz?verbose\n/startupz?verbose\n/metrics\n", s.opts.Version)
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
}

// debug is the server of the profiler. It has no WriteTimeout: how long a profile takes is in the request.
func (s *Server) debug() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	if s.opts.LogLevel != nil {
		mux.Handle("/debug/log-level", s.opts.LogLevel)
	}
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
}
