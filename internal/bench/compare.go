package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/bench/usage"
)

// Sample is what one measurement found, by metric.
type Sample map[string]float64

// Measure measures one side once: it prepares, measures, and checks that what was to be done was done.
type Measure func(ctx context.Context) (Sample, error)

// Series is what a comparison found: a sample of each side for each round.
type Series struct {
	Ours, Baseline []Sample // Baseline is nil where there is none
}

// Side is one of several that have a baseline in common.
type Side struct {
	// Name tells it apart.
	Name    string
	Measure Measure
}

// Compare measures both sides alternately, in as many rounds as were asked for; who goes first changes every round, for whoever does finds another
// machine than who goes second. baseline may be nil. what names the comparison to whoever watches.
func (b *Bench) Compare(ctx context.Context, what string, ours, baseline Measure) (Series, error) {
	all, err := b.CompareAll(ctx, what, []Side{{"ours", ours}}, baseline)
	if err != nil {
		return Series{}, err
	}
	return all[0], nil
}

// CompareAll is Compare of several with one baseline, which is measured once a round. It returns a series for each of ours.
func (b *Bench) CompareAll(ctx context.Context, what string, ours []Side, baseline Measure) ([]Series, error) {
	sides := slices.Clone(ours)
	if baseline != nil {
		sides = append(sides, Side{"baseline", baseline})
	}
	found := make([][]Sample, len(sides))
	b.Watch.Begin(b.scenario+" "+what, b.Rounds*len(sides))
	defer b.Watch.End()
	for round := range b.Rounds {
		for i := range sides {
			turn := (i + round) % len(sides)
			sample, err := sides[turn].Measure(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s %s, round %d, %s: %w", b.scenario, what, round+1, sides[turn].Name, err)
			}
			found[turn] = append(found[turn], sample)
			b.Watch.Done()
		}
	}
	all := make([]Series, len(ours))
	for i := range all {
		all[i].Ours = found[i]
		if baseline != nil {
			all[i].Baseline = found[len(ours)]
		}
	}
	return all, nil
}

// AddUsage adds to a sample what processes used for n things: `<name>_cpu` in µs for each, `<name>_wait`, for how long threads that could run had no core, in
// µs for each, where that is known; and `<name>_memory`, the peak in MiB.
func (s Sample) AddUsage(used map[string]usage.Used, n int) {
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(n) }
	for name, u := range used {
		s[name+cpuSuffix] = each(u.CPU)
		if u.Waited != nil {
			s[name+waitSuffix] = each(*u.Waited)
		}
		s[name+memorySuffix] = float64(u.PeakMemory) / (1 << 20)
	}
}

// The metrics that scenarios share.
const (
	metricRate = "rate" // of the thing that is measured, per second
	metricP50  = "p50"  // of a latency
	metricP99  = "p99"

	cpuSuffix    = "_cpu"
	waitSuffix   = "_wait"
	memorySuffix = "_memory"
)
