package main

import (
	"bufio"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
)

// metrics are what a daemon answers to a scrape: values by name and labels.
func (s *stack) metrics(d *inProcess) map[string]float64 {
	s.t.Helper()
	return s.scrape(d.admin.Addr().String())
}

func (s *stack) scrape(addr string) map[string]float64 {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
	require.NoError(s.t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, res.Body.Close()) }()
	all := map[string]float64{}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if i := strings.LastIndexByte(lines.Text(), ' '); i > 0 && lines.Text()[0] != '#' {
			all[lines.Text()[:i]], err = strconv.ParseFloat(lines.Text()[i+1:], 64)
			require.NoError(s.t, err)
		}
	}
	require.NoError(s.t, lines.Err())
	return all
}

// readyz is what a daemon's readiness probe says, in full.
func (s *stack) readyz(addr string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+addr+"/readyz?verbose", nil)
	require.NoError(s.t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, res.Body.Close()) }()
	body, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	return string(body)
}
