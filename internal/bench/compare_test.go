package bench

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/bench/usage"
)

// told keeps what a watcher is told.
type told []string

func (t *told) Say(what string)          { *t = append(*t, "say "+what) }
func (t *told) Begin(what string, n int) { *t = append(*t, "begin "+what+" "+string(rune('0'+n))) }
func (t *told) Done()                    { *t = append(*t, "done") }
func (t *told) End()                     { *t = append(*t, "end") }

func TestSidesAreMeasuredAlternatelyAndTakeTurnsInGoingFirst(t *testing.T) {
	t.Parallel()
	var watch told
	b := &Bench{Options: Options{Rounds: 3, Watch: &watch}, scenario: "drain"}
	var order string
	side := func(name string) Measure {
		return func(context.Context) (Sample, error) { order += name; return Sample{"n": float64(len(order))}, nil }
	}
	s, err := b.Compare(t.Context(), "x", side("o"), side("b"))
	require.NoError(t, err)
	require.Equal(t, "obboob", order)
	require.Equal(t, Series{Ours: []Sample{{"n": 1}, {"n": 4}, {"n": 5}}, Baseline: []Sample{{"n": 2}, {"n": 3}, {"n": 6}}}, s)
	require.Equal(t, told{"begin drain x 6", "done", "done", "done", "done", "done", "done", "end"}, watch)

	order = ""
	s, err = b.Compare(t.Context(), "x", side("o"), nil)
	require.NoError(t, err)
	require.Equal(t, "ooo", order)
	require.Nil(t, s.Baseline)
}

func TestSeveralHaveOneBaselineInCommon(t *testing.T) {
	t.Parallel()
	var watch told
	b := &Bench{Options: Options{Rounds: 2, Watch: &watch}, scenario: "fleet"}
	var order string
	side := func(name string) Measure {
		return func(context.Context) (Sample, error) { order += name; return Sample{name: float64(len(order))}, nil }
	}
	all, err := b.CompareAll(t.Context(), "x", []Side{{"each", side("e")}, {"shared", side("s")}}, side("b"))
	require.NoError(t, err)
	require.Equal(t, "esbsbe", order, "it is measured once a round")
	baseline := []Sample{{"b": 3}, {"b": 5}}
	require.Equal(t, []Series{{Ours: []Sample{{"e": 1}, {"e": 6}}, Baseline: baseline}, {Ours: []Sample{{"s": 2}, {"s": 4}}, Baseline: baseline}}, all)
	require.Equal(t, "begin fleet x 6", watch[0])

	fails := Side{"shared", func(context.Context) (Sample, error) { return nil, errors.New("boom") }}
	_, err = b.CompareAll(t.Context(), "x", []Side{{"each", side("e")}, fails}, nil)
	require.EqualError(t, err, "fleet x, round 1, shared: boom")
}

func TestAMeasurementThatFailsEndsTheComparisonAndIsNamed(t *testing.T) {
	t.Parallel()
	var watch told
	b := &Bench{Options: Options{Rounds: 3, Watch: &watch}, scenario: "drain"}
	boom := errors.New("boom")
	calls := 0
	_, err := b.Compare(t.Context(), "1KiB", func(context.Context) (Sample, error) { return Sample{}, nil },
		func(context.Context) (Sample, error) {
			if calls++; calls == 2 {
				return nil, boom
			}
			return Sample{}, nil
		})
	require.ErrorIs(t, err, boom)
	require.EqualError(t, err, "drain 1KiB, round 2, baseline: boom")
	require.Equal(t, "end", watch[len(watch)-1], "the bar is taken away")
}

func TestMediansAreOfTheRoundsAndRatiosOfEachRound(t *testing.T) {
	t.Parallel()
	b := &Bench{Options: Options{Rounds: 3}, Mode: SyncAlways, scenario: "x"}
	require.NoError(t, b.Report(Place{Case: "c", Size: "1KiB"}, Series{
		Ours:     []Sample{{"rate": 10, "extra": 1}, {"rate": 40, "extra": 2}, {"rate": 20, "extra": 9}},
		Baseline: []Sample{{"rate": 10}, {"rate": 10}, {"rate": 40}},
	}, "rate"))
	require.Equal(t, []Result{
		{
			Scenario: "x", Metric: "rate", Unit: "1/s", Case: "c", Size: "1KiB", Sync: SyncAlways, Rounds: 3,
			Ours: 20, Baseline: new(10.0), Ratio: new(1.0), // of 1, 4 and 0.5: not 20/10
			Spread: Spread{Ours: [2]float64{10, 40}, Baseline: &[2]float64{10, 40}, Ratio: &[2]float64{0.5, 4}},
		},
		{Scenario: "x", Metric: "extra", Case: "c", Size: "1KiB", Sync: SyncAlways, Rounds: 3, Ours: 2, Spread: Spread{Ours: [2]float64{1, 9}}},
	}, b.results)
}

func TestWhatCannotBeComparedIsAnErrorOrHasNoRatio(t *testing.T) {
	t.Parallel()
	b := &Bench{scenario: "x"}
	require.EqualError(t, b.Report(Place{}, Series{}), "report x: 0 rounds of ours, 0 of the baseline")
	require.EqualError(t, b.Report(Place{}, Series{Ours: []Sample{{"a": 1}, {"a": 1}}, Baseline: []Sample{{"a": 1}}}), "report x: 2 rounds of ours, 1 of the baseline")
	require.EqualError(t, b.Report(Place{}, Series{Ours: []Sample{{"a": 1}, {}}}), "report x: a was not measured in every round, or is no number")
	require.EqualError(t, b.Report(Place{}, Series{Ours: []Sample{{"a": 1}}}, "rate"), "report x: rate was not measured in every round, or is no number")
	require.NoError(t, b.Report(Place{}, Series{Ours: []Sample{{"a": 1}}, Baseline: []Sample{{"a": 0}}}))
	require.Nil(t, b.results[0].Ratio, "of nothing")
	require.Equal(t, new(0.0), b.results[0].Baseline)
}

func TestMedianOfAnEvenNumberIsTheMeanOfTheTwoInTheMiddle(t *testing.T) {
	t.Parallel()
	v := []float64{9, 1, 4, 2}
	require.Equal(t, 3.0, median(v))
	require.Equal(t, []float64{9, 1, 4, 2}, v, "left as they were")
	require.Equal(t, 4.0, median([]float64{9, 4, 2}))
	require.Equal(t, 7.0, median([]float64{7}))
	require.Equal(t, [2]float64{1, 9}, extremes(v))
}

func TestEachMetricHasItsUnit(t *testing.T) {
	t.Parallel()
	for metric, want := range map[string]string{
		metricRate: "1/s", metricReads: "1/s", metricSaves: "1/s", metricAcknowledged: "1/s", metricP50: "ms", metricDaemonCPU: "µs each", metricFlat: "MiB", metricWaiting: "steps",
	} {
		require.Equal(t, want, unitOf(metric), metric)
	}
}

func TestUsageIsOfEachStep(t *testing.T) {
	t.Parallel()
	s := Sample{}
	s.AddUsage(map[string]usage.Used{"daemon": {CPU: 20 * time.Millisecond, PeakMemory: 3 << 20}}, 1000)
	require.Equal(t, Sample{"daemon_cpu": 20, "daemon_memory": 3}, s)
}

func TestTargetsAreOf64WorkersAndAnotherNumberIsNamed(t *testing.T) {
	t.Parallel()
	require.Equal(t, []int{64, 8}, []int{Options{}.workers(), Options{Workers: 8}.workers()})
	series := Series{Ours: []Sample{{metricRate: 1}}, Baseline: []Sample{{metricRate: 1}}}
	for _, row := range []struct {
		scenario, name, want string
		workers              int
		judged               bool
	}{
		{"fleet", caseEach, caseEach, 64, true},
		{"fleet", caseEach, caseEach + ", 8 workers", 8, false},
		{"checkpoint", "", "", 64, true},
		{"checkpoint", "", "8 workers", 8, false},
		{"replay", caseReplay, caseReplay, 0, true},
	} {
		b := &Bench{Mode: SyncInterval, scenario: row.scenario}
		require.NoError(t, b.Report(Place{Case: row.name, Size: oneKiB, Workers: row.workers}, series))
		require.Equal(t, row.want, b.results[0].Case)
		require.Equal(t, row.judged, b.results[0].Met != nil, "%s, %d", row.scenario, row.workers)
	}
}

func TestTheBaselinesConnectionsAreLookedForOnce(t *testing.T) {
	t.Parallel()
	b := &Bench{pools: pools{{savesSteps, oneKiB}: {connections: 24, rate: 5000}}} // without servers, to look would be to fall
	p, err := b.fastest(t.Context(), Sized(1<<10), savesSteps, nil)
	require.NoError(t, err)
	require.Equal(t, pool{24, 5000}, p)
}
