package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// Result is one figure of one scenario.
type Result struct {
	Scenario string `json:"scenario"`
	// Metric is what was measured, Unit in what.
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	// Case tells the figures of one scenario apart, where it has several: "64 workers".
	Case string `json:"case,omitempty"`
	// Size is of the states: "1KiB", or "steps" of those of a file.
	Size string `json:"size,omitempty"`
	// Sync is when the log's server synced.
	Sync Sync `json:"sync"`
	// Rounds is how often it was measured.
	Rounds int `json:"rounds"`
	// Ours is the median of the rounds; so is Baseline, null where there is none.
	Ours     float64  `json:"ours"`
	Baseline *float64 `json:"baseline"`
	// Ratio is the median of the rounds' own ratios of ours to the baseline, null where there is none.
	Ratio *float64 `json:"ratio"`
	// Spread is the least and the greatest of each.
	Spread Spread `json:"spread"`
	// Target is the bound that persistd is held to, and Met whether it is within; both null where there is none.
	Target *Bound `json:"target"`
	Met    *bool  `json:"met"`
}

// Spread is the least and the greatest that the rounds found.
type Spread struct {
	Ours     [2]float64  `json:"ours"`
	Baseline *[2]float64 `json:"baseline"`
	Ratio    *[2]float64 `json:"ratio"`
}

// Place says which of several figures of a scenario something is.
type Place struct {
	Case, Size string
	// Workers is how many workers there were, where [Options].Workers says that; with another number than is usual the case says so, and has no target.
	Workers int
}

// usual is whether targets are of that many workers.
func (at Place) usual() bool { return at.Workers == 0 || at.Workers == fleetWorkers }

// name is the case's, with what is not usual.
func (at Place) name() string {
	if at.usual() {
		return at.Case
	}
	return strings.TrimPrefix(fmt.Sprintf("%s, %d workers", at.Case, at.Workers), ", ")
}

// units are those of the metrics that all scenarios use. The suffixes _cpu and _memory have theirs.
var units = map[string]string{metricRate: "1/s", metricP50: "ms", metricP99: "ms", metricAcknowledged: "1/s", metricWaiting: "steps"}

// unitOf is a metric's unit.
func unitOf(metric string) string {
	switch {
	case strings.HasSuffix(metric, "_"+metricRate):
		return units[metricRate]
	case strings.HasSuffix(metric, cpuSuffix), strings.HasSuffix(metric, waitSuffix):
		return "µs each"
	case strings.HasSuffix(metric, memorySuffix):
		return "MiB"
	}
	return units[metric]
}

// Report makes results of a series: one for each metric that ours has in every round, the first named first. It looks up their targets.
func (b *Bench) Report(at Place, s Series, first ...string) error {
	if len(s.Ours) == 0 || s.Baseline != nil && len(s.Baseline) != len(s.Ours) {
		return fmt.Errorf("report %s: %d rounds of ours, %d of the baseline", b.scenario, len(s.Ours), len(s.Baseline))
	}
	others := slices.Sorted(maps.Keys(s.Ours[0]))
	others = slices.DeleteFunc(others, func(m string) bool { return slices.Contains(first, m) })
	for _, metric := range append(slices.Clone(first), others...) {
		r := Result{Scenario: b.scenario, Metric: metric, Unit: unitOf(metric), Case: at.name(), Size: at.Size, Sync: b.Mode, Rounds: len(s.Ours)}
		if err := r.fill(s); err != nil {
			return err
		}
		if !b.Short && at.usual() {
			r.judge(Targets())
		}
		b.results = append(b.results, r)
	}
	return nil
}

// fill computes the figures.
func (r *Result) fill(s Series) error {
	ours, ok := column(s.Ours, r.Metric)
	if !ok {
		return fmt.Errorf("report %s: %s was not measured in every round, or is no number", r.Scenario, r.Metric)
	}
	r.Ours, r.Spread.Ours = median(ours), extremes(ours)
	baseline, ok := column(s.Baseline, r.Metric)
	if !ok {
		return nil
	}
	ratios := make([]float64, len(ours))
	for i := range ratios {
		ratios[i] = ours[i] / baseline[i]
	}
	r.Baseline, r.Spread.Baseline = new(median(baseline)), new(extremes(baseline))
	if slices.ContainsFunc(ratios, func(f float64) bool { return math.IsNaN(f) || math.IsInf(f, 0) }) {
		return nil // of nothing
	}
	r.Ratio, r.Spread.Ratio = new(median(ratios)), new(extremes(ratios))
	return nil
}

// column is one metric over the rounds.
func column(samples []Sample, metric string) (values []float64, ok bool) {
	for _, s := range samples {
		v, has := s[metric]
		if !has || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, false
		}
		values = append(values, v)
	}
	return values, len(values) > 0
}

// median is of one number at least; of an even number, the mean of the two in the middle.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	mid := len(v) / 2
	if len(v)%2 == 0 {
		return (v[mid-1] + v[mid]) / 2
	}
	return v[mid]
}

func extremes(v []float64) [2]float64 { return [2]float64{slices.Min(v), slices.Max(v)} }
