package bench

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/bench/load"
)

// pool is with how many connections the synchronous store saves fastest, and how many a second.
type pool struct {
	connections int
	rate        float64
}

// pools are those of the workloads, by what is saved and its size: of a whole run, whichever scenario asks first.
type pools map[[2]string]pool

// What is saved.
const (
	savesSteps       = "steps"
	savesCheckpoints = "checkpoints"
)

// steps saves steps of w with many workers.
func (b *Bench) steps(w Workload) func(context.Context, stores) (Sample, error) {
	return func(ctx context.Context, s stores) (Sample, error) {
		return b.saving(ctx, s, w, load.Options{Workers: b.workers()})
	}
}

// fastest finds the pool for what measure saves of w: a database with many more busy threads than cores may spend its time on waking and spinning, and to measure against that
// would be no comparison. The best of two tries counts, as what else the machine does is not to make it easier for ours.
func (b *Bench) fastest(ctx context.Context, w Workload, what string, measure func(context.Context, stores) (Sample, error)) (pool, error) {
	key := [...]string{what, w.Size}
	if p, ok := b.pools[key]; ok {
		return p, nil
	}
	b.Say(fmt.Sprintf("looking for how many connections make the synchronous store save %s of %s fastest", what, w.Size))
	var best pool
	tried := []int{b.workers(), 24, 8, b.workers(), 24, 8}
	for _, n := range tried[:b.Count(len(tried), 1)] {
		s, err := b.onDirect(ctx, n, measure)
		if err != nil {
			return best, fmt.Errorf("measure the synchronous store with %d connections: %w", n, err)
		}
		if best.connections == 0 || s[metricRate] > best.rate {
			best = pool{n, s[metricRate]}
		}
	}
	b.Say(fmt.Sprintf("the synchronous store is fastest with %d connections, at %.0f a second", best.connections, best.rate))
	b.pools[key] = best
	return best, nil
}
