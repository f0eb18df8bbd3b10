package bench

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAMissedTargetHasItsReasonOrNoneIsKnown(t *testing.T) {
	t.Parallel()
	missed := func(scenario string, b Bound) []string {
		r := Report{Results: []Result{{Scenario: scenario, Metric: "rate", Size: oneKiB, Ratio: new(0.5), Target: &b, Met: new(false)}}}
		return r.missed()
	}
	require.Equal(t, []string{"- drain, rate: 1KiB: ratio ≥ 0.95, and is 0.500. " + missedReason(t) + "\n"}, missed("drain", Bound{OfRatio, AtLeast, 0.95}))
	require.Equal(t, []string{"- drain, rate: 1KiB: ratio ≥ 0.75, and is 0.500. No reason is known.\n"}, missed("drain", Bound{OfRatio, AtLeast, 0.75}), "that is of another target")
	require.Equal(t, []string{"- x, rate: 1KiB: ratio ≥ 0.95, and is 0.500. No reason is known.\n"}, missed("x", Bound{OfRatio, AtLeast, 0.95}))
}

func TestAMissedTargetHasWhatEachTookOfTheCores(t *testing.T) {
	t.Parallel()
	at := func(metric string, ours, baseline float64) Result {
		return Result{Scenario: "fleet", Metric: metric, Case: caseEach, Size: oneKiB, Ours: ours, Baseline: &baseline, Target: &Bound{OfRatio, AtLeast, 3}}
	}
	all := []Result{
		at(metricRate, 10000, 5000), at("client_cpu", 40, 100), at("nats-server_cpu", 50, 1), at("database_cpu", 30.5, 199),
		{Scenario: "fleet", Metric: "client_cpu", Case: caseShared, Ours: 7},
		{Scenario: "drain", Metric: "client_cpu", Case: caseEach, Size: oneKiB, Ours: 7},
	}
	r := Report{Machine: Machine{Cores: 2}, Results: all}
	cpu := "Each took 120 µs of CPU (client 40.0, nats-server 50.0, database 30.5), and of the baseline 300 (client 100, nats-server 1.00, database 199), of which 3 times its rate would leave 100"
	used := ". At 10000 a second ours used 60 % of the 2 cores."
	require.Equal(t, cpu+used, r.spent(&all[0]))

	waits := []Result{at("client_wait", 10, 20), at("nats-server_wait", 1, 2)}
	r.Results = slices.Concat(all, waits)
	require.Equal(t, cpu+used, r.spent(&all[0]), "the database's is not known")
	r.Results = slices.Concat(all, waits, []Result{at("database_wait", 3, 4)})
	require.Equal(t, cpu+"; threads that could run waited for a core for 14.0 and 26.0 µs"+used, r.spent(&all[0]))

	memory := at(metricFlat, 1, 2)
	require.Empty(t, r.spent(&memory))
	p99 := at(metricP99, 1, 2)
	p99.Target = &Bound{OfRatio, AtMost, 0.25}
	require.NotContains(t, r.spent(&p99), "would leave", "that is not of a rate")
	r.Machine.Cores = 0
	require.NotContains(t, r.spent(&p99), "used", "nobody knows of how many")
	r.Results = slices.DeleteFunc(r.Results, func(o Result) bool { return strings.HasSuffix(o.Metric, cpuSuffix) })
	require.Empty(t, r.spent(&all[0]))
}

// A target that is missed and nobody knows why is not to be left at that.
func TestTheDocumentHasAReasonForWhatIsMissed(t *testing.T) {
	t.Parallel()
	written, err := os.ReadFile(document)
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(written), endMethod)
	require.True(t, ok)
	for line := range strings.Lines(after) {
		require.NotContains(t, line, unknownReason)
		if strings.Contains(line, ", and is ") {
			require.True(t, slices.ContainsFunc(Targets(), func(g Target) bool {
				return g.Missed != "" && strings.HasPrefix(line, "- "+g.Scenario+", ") && strings.Contains(line, g.Missed)
			}), "it is not a reason of today: make bench writes the document: %s", line)
		}
	}
}

// missedReason is why the drain misses its target.
func missedReason(t *testing.T) string {
	t.Helper()
	i := slices.IndexFunc(Targets(), func(g Target) bool { return g.Scenario == "drain" && g.Size == oneKiB && g.Metric == metricRate })
	require.GreaterOrEqual(t, i, 0)
	return Targets()[i].Missed
}
