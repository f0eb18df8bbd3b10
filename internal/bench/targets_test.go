package bench

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBoundsHaveADirectionAndIncludeTheirValue(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		op            Op
		below, at, on bool
	}{{AtLeast, false, true, true}, {AtMost, true, true, false}} {
		b := Bound{OfRatio, row.op, 0.95}
		require.Equal(t, []bool{row.below, row.at, row.on}, []bool{b.met(0.949), b.met(0.95), b.met(0.951)}, row.op)
	}
	require.Equal(t, "ratio ≥ 0.95", Bound{OfRatio, AtLeast, 0.95}.String())
	require.Equal(t, "ours ≤ 10", Bound{OfOurs, AtMost, 10}.String())
}

func TestATargetIsOfItsFigureOnly(t *testing.T) {
	t.Parallel()
	targets := []Target{
		{Scenario: "s", Metric: "m", Case: "c", Size: "1KiB", Sync: SyncAlways, Bound: Bound{OfRatio, AtLeast, 1}},
		{Scenario: "s", Metric: "any", Bound: Bound{OfOurs, AtMost, 5}},
	}
	base := Result{Scenario: "s", Metric: "m", Case: "c", Size: "1KiB", Sync: SyncAlways, Ours: 7, Ratio: new(1.5)}
	for name, row := range map[string]struct {
		change func(*Result)
		met    *bool
	}{
		"it fits":                       {func(*Result) {}, new(true)},
		"it is missed":                  {func(r *Result) { r.Ratio = new(0.5) }, new(false)},
		"it has no ratio":               {func(r *Result) { r.Ratio = nil }, nil},
		"another scenario":              {func(r *Result) { r.Scenario = "t" }, nil},
		"another metric":                {func(r *Result) { r.Metric = "n" }, nil},
		"another case":                  {func(r *Result) { r.Case = "d" }, nil},
		"another size":                  {func(r *Result) { r.Size = "8KiB" }, nil},
		"another sync":                  {func(r *Result) { r.Sync = SyncInterval }, nil},
		"any place, bound of ours":      {func(r *Result) { r.Metric = "any" }, new(false)},
		"any place, another size, kept": {func(r *Result) { r.Metric, r.Size, r.Ours = "any", "8KiB", 5 }, new(true)},
	} {
		r := base
		row.change(&r)
		r.judge(targets)
		require.Equal(t, row.met, r.Met, name)
		require.Equal(t, row.met == nil, r.Target == nil, name)
	}
}

func TestAssertNamesWhatIsMissed(t *testing.T) {
	t.Parallel()
	met := Result{Scenario: "a", Metric: "rate", Ratio: new(1.0), Target: &Bound{OfRatio, AtLeast, 0.95}, Met: new(true)}
	missed := Result{
		Scenario: "b", Metric: "daemon_cpu", Unit: "µs each", Size: "1KiB", Ours: 12.345, Target: &Bound{OfOurs, AtMost, 10}, Met: new(false),
	}
	require.NoError(t, Assert([]Result{met, {Scenario: "c"}}))
	require.EqualError(t, Assert([]Result{met, missed}), "1 of 2 targets missed: b, daemon_cpu, µs each: 1KiB: ours ≤ 10, and is 12.3")
	require.EqualError(t, Assert([]Result{{Scenario: "c"}}), "nothing that has a target was measured: --list shows what has one")
	require.Error(t, Assert(nil))
}

func TestTargetsThatNoFigureWasJudgedByAreNamed(t *testing.T) {
	t.Parallel()
	var all []Result
	for _, target := range Targets() {
		all = append(all, Result{
			Scenario: target.Scenario, Metric: target.Metric, Case: target.Case, Size: target.Size, Sync: target.Sync, Target: &target.Bound, Met: new(false),
		})
	}
	require.Empty(t, Unmeasured(all))
	without := func(leave func(r Result) bool) []string {
		return Unmeasured(slices.DeleteFunc(slices.Clone(all), leave))
	}
	require.Equal(t, []string{"drain, rate, steps: ratio ≥ 0.95"}, without(func(r Result) bool { return r.Size == SizeSteps }))
	require.Equal(t, []string{"replay: none of its 2 targets"}, without(func(r Result) bool { return r.Scenario == "replay" }))
	require.Equal(t, []string{"grown, rate: ratio ≥ 0.8"}, without(func(r Result) bool { return r.Scenario == "grown" }), "it has one only")
	require.Contains(t, Unmeasured([]Result{{Scenario: "grown", Metric: metricRate, Ratio: new(1.0)}}), "grown, rate: ratio ≥ 0.8", "a figure that was not judged is none")
}

func TestNothingIsJudgedInAShortRun(t *testing.T) {
	t.Parallel()
	series := Series{Ours: []Sample{{metricRate: 1}}, Baseline: []Sample{{metricRate: 1}}}
	for _, short := range []bool{false, true} {
		b := &Bench{Options: Options{Short: short}, scenario: "drain"}
		require.NoError(t, b.Report(Place{Size: oneKiB}, series))
		require.Equal(t, short, b.results[0].Met == nil)
	}
}

func TestEachTargetIsOfAScenarioThatThereIs(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, s := range Scenarios() {
		require.False(t, names[s.Name], "two are called %s", s.Name)
		names[s.Name] = true
		require.NotEmpty(t, s.Help)
		require.NotEmpty(t, s.Method)
	}
	for _, target := range Targets() {
		require.True(t, names[target.Scenario], target)
		require.NotEmpty(t, target.Says)
		require.Contains(t, []Op{AtLeast, AtMost}, target.Bound.Op)
		require.Contains(t, []Of{OfRatio, OfOurs}, target.Bound.Of)
	}
}

// --help says so of --size and --steps.
func TestMemoryMixedAndGrownHaveStatesOfTheirOwn(t *testing.T) {
	t.Parallel()
	own := func(s Scenario) (own bool) {
		defer func() { own = recover() != nil }() // it went on to servers that are not there
		b := &Bench{Options: Options{Rounds: 1, Sizes: []int{256}, Steps: filepath.Join(t.TempDir(), "absent"), Watch: silent{}}, Mode: SyncInterval}
		require.ErrorContains(t, s.Run(t.Context(), b), "read --steps", s.Name)
		return false
	}
	var names []string
	for _, s := range Scenarios() {
		if own(s) {
			names = append(names, s.Name)
		}
	}
	require.Equal(t, []string{"memory", "mixed", "grown"}, names)
}

func TestScenariosAreFoundByName(t *testing.T) {
	t.Parallel()
	all, err := Find(nil)
	require.NoError(t, err)
	require.Len(t, all, len(Scenarios()))
	some, err := Find([]string{"memory", "drain"})
	require.NoError(t, err)
	require.Equal(t, []string{"drain", "memory"}, slices.Collect(func(yield func(string) bool) {
		for _, s := range some {
			if !yield(s.Name) {
				return
			}
		}
	}))
	_, err = Find([]string{"drain", "drian"})
	require.EqualError(t, err, `no scenario is called "drian": persistd bench --list shows them`)
}
