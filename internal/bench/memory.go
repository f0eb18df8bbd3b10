package bench

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/persistd/persistd/internal/bench/rig"
)

// memoryScenario: what a backlog costs the daemon in memory.
func memoryScenario() Scenario {
	return Scenario{
		Name: "memory",
		Help: "The most memory that the daemon holds while it drains 1,000,000 and 100,000 steps, against 10,000.",
		Method: `The log is filled with 1 KiB steps while no daemon runs; a daemon is started and drains all of it. What counts is the peak of its resident set,
pages of its program included, from the moment at which it has its first partition until everything is committed. The baseline is the same with
10,000 steps, measured once a round beside the other two; the metric flat is the same figure again, with the ratio's target.`,
		Run: func(ctx context.Context, b *Bench) error {
			var sizes []Side
			for _, n := range []int{1_000_000, 100_000} {
				sizes = append(sizes, Side{humanize.Comma(int64(b.Count(n, n/2500))) + " steps", func(ctx context.Context) (Sample, error) { return b.peak(ctx, b.Count(n, n/2500)) }})
			}
			const least = 10_000
			all, err := b.CompareAll(ctx, "backlogs", sizes, func(ctx context.Context) (Sample, error) { return b.peak(ctx, b.Count(least, 20)) })
			if err != nil {
				return err
			}
			for i, s := range all {
				if err := b.Report(Place{Case: sizes[i].Name, Size: oneKiB}, s, metricDaemonMemory, metricFlat); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

const (
	metricDaemonMemory = rig.Daemon + memorySuffix
	metricFlat         = "flat" + memorySuffix
	oneKiB             = "1KiB"

	// memoryChunk is how many steps there are in this process at a time.
	memoryChunk = 20_000
)

// peak drains n steps, which are never all in this process's memory.
func (b *Bench) peak(ctx context.Context, n int) (Sample, error) {
	if err := b.Rig.Empty(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was emptied.
	}
	made := Sized(1<<10).Make("memory", min(n, memoryChunk))
	for filled := 0; filled < n; filled += memoryChunk {
		for i := range made { // other runs, of the same states
			made[i].Run = fmt.Sprintf("memory-%d-%d", filled, i/stepsOfRun)
			made[i].Step = i % stepsOfRun
		}
		if err := b.fill(ctx, made[:min(n-filled, memoryChunk)]); err != nil {
			return nil, err
		}
	}
	if err := b.Rig.Settle(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	s, err := b.catchUp(ctx, n, func() {})
	if err != nil {
		return nil, err
	}
	delete(s, metricRate) // that is the scenario drain's
	s[metricFlat] = s[metricDaemonMemory]
	return s, b.complete(ctx, n)
}
