package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// probe answers one of /livez, /readyz and /startupz.
type probe struct {
	name     string
	checks   []*runner
	failures *prometheus.CounterVec
}

func (s *Server) newProbe(name string, m *metrics, checks []Check) *probe {
	p := &probe{name: name, failures: m.failures}
	for _, c := range checks {
		m.failures.WithLabelValues(name, c.Name) // shown from the start, as zero
		p.checks = append(p.checks, &runner{Check: c, server: s})
	}
	return p
}

func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	excluded := query["exclude"]
	results := make([]error, len(p.checks))
	var wg sync.WaitGroup
	for i, c := range p.checks {
		if !slices.Contains(excluded, c.Name) {
			wg.Go(func() { results[i] = c.run(r.Context()) })
		}
	}
	wg.Wait() // each run returns by itself within the check's timeout

	var out strings.Builder
	ok := true
	for i, c := range p.checks {
		switch at := slices.Index(excluded, c.Name); {
		case at >= 0:
			fmt.Fprintf(&out, "[+]%s excluded: ok\n", c.Name)
			excluded = slices.DeleteFunc(slices.Clone(excluded), func(name string) bool { return name == c.Name })
		case results[i] != nil:
			ok = false
			p.failures.WithLabelValues(p.name, c.Name).Inc()
			fmt.Fprintf(&out, "[-]%s failed: %s\n", c.Name, strings.Join(strings.Fields(results[i].Error()), " "))
		default:
			fmt.Fprintf(&out, "[+]%s ok\n", c.Name)
		}
	}
	if len(excluded) > 0 {
		fmt.Fprintf(&out, "warn: some checks cannot be excluded: no matches for %q\n", excluded)
	}

	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case !ok:
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintf(w, "%s%s check failed\n", out.String(), p.name)
	case query.Has("verbose"):
		_, _ = fmt.Fprintf(w, "%s%s check passed\n", out.String(), p.name)
	default:
		_, _ = fmt.Fprint(w, "ok")
	}
}

// runner runs one check for all who ask. Whoever asks while it runs gets the result of that run.
type runner struct {
	Check
	server *Server

	mu      sync.Mutex
	current *run // nil when none is running
}

type run struct {
	done    chan struct{} // closed once err is set
	err     error
	started time.Time
}

// run returns the check's result, or an error once its timeout has passed or asking has ended.
func (c *runner) run(ctx context.Context) error {
	current := c.start()
	ctx, cancel := context.WithTimeout(ctx, c.server.opts.CheckTimeout)
	defer cancel()
	select {
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return fmt.Errorf("no answer for %s", time.Since(current.started).Round(time.Millisecond))
	}
}

// start joins the run in progress or begins one. The run belongs to the server, not to the request that began it: another
// may have joined.
func (c *runner) start() *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		return c.current
	}
	current := &run{done: make(chan struct{}), started: time.Now()}
	c.server.begin.Lock()
	defer c.server.begin.Unlock()
	if c.server.ctx.Err() != nil {
		current.err = errStopping
		close(current.done)
		return current
	}
	c.current = current
	c.server.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.server.ctx, c.server.opts.CheckTimeout)
		defer cancel()
		current.err = c.Check.Check(ctx)
		c.mu.Lock()
		c.current = nil
		c.mu.Unlock()
		close(current.done)
	})
	return current
}
