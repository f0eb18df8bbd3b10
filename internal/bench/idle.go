package bench

import (
	"context"
	"time"

	"github.com/persistd/persistd/internal/bench/load"
	"github.com/persistd/persistd/pkg/client"
)

// idleScenario: how long one step takes into MySQL when nothing else is going on.
func idleScenario() Scenario {
	return Scenario{
		Name: "idle",
		Help: "One step on an idle system, from the call until it is committed in MySQL, against one direct commit.",
		Method: `A worker rests for 20 ms, so that whatever its last step has set going is over, and saves a step. Ours is SaveStep with the durability "committed", from the call until it
returns: publish, the log, the daemon's commit, and the way back of the news. That is somewhat more than until the row can be read; it is what a caller can know. To look for the row instead
would be to ask the database in a loop, which slows what it waits for, and knows it only to within a question. The baseline is SaveStep of the synchronous store, from the call
until its transaction is committed, after the same rest; no daemon runs. The first quarter is warm-up. In the end the table is checked to have every step.`,
		Syncs: true,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for _, w := range loads {
				if err := b.idle(ctx, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// idleRest is how long nothing happens between two steps.
const idleRest = 20 * time.Millisecond

func (b *Bench) idle(ctx context.Context, w Workload) error {
	measure := func(ctx context.Context, s stores) (Sample, error) {
		v := newSaver(s, w, "idle")
		if err := b.warmUp(ctx, v, 1); err != nil {
			return nil, err
		}
		sample, err := b.timed(client.ContextWithDurability(ctx, client.Committed), load.Options{Workers: 1, Pause: idleRest, For: seldom}, v.step)
		if err != nil {
			return nil, err
		}
		return sample, b.arrive(ctx, v, stepsTable)
	}
	s, err := b.Compare(ctx, w.Size,
		func(ctx context.Context) (Sample, error) { return b.onLog(ctx, 1, measure) },
		func(ctx context.Context) (Sample, error) { return b.onDirect(ctx, 1, measure) })
	if err != nil {
		return err
	}
	return b.Report(Place{Size: w.Size}, s, metricP50, metricP99)
}
