package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/bench"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// Tiny: that each runs, and that nothing of what it is to tell is missing. Within, each checks that what was acknowledged is in the table.
func TestWhatWorkersSeeIsMeasuredBesideTheSynchronousStore(t *testing.T) {
	t.Parallel()
	latencies, usage := []string{"p50", "p99", "rate"}, []string{"client_cpu", "client_memory", "daemon_cpu", "daemon_memory", "database_cpu", "nats-server_cpu"}
	type of struct{ name, metric string }
	cases := func(metrics []string, names ...string) (all []of) {
		for _, name := range names {
			for _, m := range metrics {
				all = append(all, of{name, m})
			}
		}
		return all
	}
	for scenario, want := range map[string][]of{
		"save":       cases(append(latencies, usage...), "1 worker", "64 workers", "64 workers at half"),
		"fleet":      cases(append([]string{"rate", "acknowledged"}, usage...), "a connection each", "one connection"),
		"checkpoint": cases(append(latencies, usage...), ""),
		"idle":       cases(append(latencies, usage...), ""),
		"read": append(cases(append(latencies, usage...), "empty tail", "short tail", "long tail"),
			append(cases(append([]string{"p50", "p99"}, usage...), "100,000 steps wait", "100,000 steps are drained"), of{"100,000 steps are drained", "waiting"})...),
		"memory": cases(append([]string{"flat_memory"}, usage...), "400 steps", "40 steps"),
		"replay": cases(append([]string{"rate"}, usage...), "replay", "catch-up"),
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			out, err := persistd(t.Context(), nil, "bench", scenario, "--short", "--sync=interval", "--output=json", "--engine="+string(stacktest.Engine(t)))
			require.NoError(t, err)
			var results []bench.Result
			require.NoError(t, json.Unmarshal([]byte(out), &results), out)
			for _, w := range want {
				i := slices.IndexFunc(results, func(r bench.Result) bool { return r.Case == w.name && r.Metric == w.metric })
				require.GreaterOrEqual(t, i, 0, "%v is missing", w)
				r := results[i]
				require.Equal(t, scenario, r.Scenario)
				require.Equal(t, "1KiB", r.Size)
				require.Equal(t, bench.SyncInterval, r.Sync)
				if slices.Contains(usage, w.metric) {
					require.Positive(t, r.Ours, "%v", w)
				}
				if slices.Contains(latencies, w.metric) {
					require.NotNil(t, r.Baseline, "%v", w)
				}
			}
		})
	}
}
