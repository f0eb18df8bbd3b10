package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// FuzzHTTP: whatever a request is, it is answered, with a status that says what it is; and no request makes a replica look ready that is
// not, unless it excludes the very check that fails.
func FuzzHTTP(f *testing.F) {
	for _, r := range []string{
		"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n", "GET /readyz?exclude=mysql HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /readyz?exclude=nats&exclude=%00&verbose HTTP/1.0\r\n\r\n", "HEAD /startupz HTTP/1.1\r\nHost: x\r\n\r\n", "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text; version=1.0.0\r\nAccept-Encoding: gzip, zstd\r\n\r\n",
		"GET //readyz/../livez?%zz;a HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT readyz HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(r))
	}
	registry := prometheus.NewRegistry()
	check := func(name string, err error) Check {
		return Check{Name: name, Check: func(context.Context) error { return err }}
	}
	s, err := New(Options{
		Version: "v0.0.0-fuzz", Gatherer: registry, Registerer: registry, Log: zap.NewNop(), Live: []Check{check("loop", nil)},
		Ready: []Check{check("nats", nil), check("mysql", errors.New("connection\nrefused"))},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Stop(context.Background()) })
	handler := s.outside().Handler
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return // the server answers that by itself
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r.WithContext(t.Context()))
		switch w.Code {
		case http.StatusOK, http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusBadRequest, http.StatusNotFound,
			http.StatusMethodNotAllowed, http.StatusServiceUnavailable:
		default:
			t.Fatalf("%s %s is answered with %d", r.Method, r.URL, w.Code)
		}
		if r.URL.Path != "/readyz" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			return
		}
		excluded := slices.Contains(r.URL.Query()["exclude"], "mysql")
		if ready := w.Code == http.StatusOK; ready != excluded && (w.Code == http.StatusOK || w.Code == http.StatusServiceUnavailable) {
			t.Fatalf("%s is answered with %d: %s", r.URL, w.Code, w.Body)
		}
		for line := range strings.Lines(w.Body.String()) {
			if w.Code == http.StatusServiceUnavailable && !strings.HasPrefix(line, "[+]") && !strings.HasPrefix(line, "[-]") && !strings.HasPrefix(line, "warn: ") && line != "readyz check failed\n" {
				t.Fatalf("%s is answered with a line of somebody else's: %q", r.URL, line)
			}
		}
	})
}
