package bench

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/bench/load"
	"github.com/persistd/persistd/pkg/client"
)

// checkpointScenario: how many named checkpoints a second are committed.
func checkpointScenario() Scenario {
	return Scenario{
		Name: "checkpoint",
		Help: "SaveCheckpoint that waits for its commit, 64 callers, against the synchronous MySQL store.",
		Method: `64 callers save named checkpoints, each as fast as it is answered (closed loop), every time another name. Ours asks for the durability "committed": a call returns when persistd
has said that MySQL has it; the callers share one client. The baseline is 64 callers of the synchronous store with 64, 24 or 8 connections, whichever was fastest when tried beforehand; no daemon runs. Counted are
calls that returned within the time; the first quarter is warm-up. In the end the table is checked to have every checkpoint.`,
		Syncs: true,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for _, w := range loads {
				if err := b.checkpoint(ctx, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (b *Bench) checkpoint(ctx context.Context, w Workload) error {
	measure := func(ctx context.Context, s stores) (Sample, error) {
		v := newSaver(s, w, "checkpoint")
		if err := b.warmUp(ctx, v, b.workers()); err != nil {
			return nil, err
		}
		sample, err := b.timed(client.ContextWithDurability(ctx, client.Committed), load.Options{Workers: b.workers()}, v.checkpoint)
		if err != nil {
			return nil, err
		}
		return sample, b.arrive(ctx, v, checkpointsTable)
	}
	direct, err := b.fastest(ctx, w, savesCheckpoints, measure)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	s, err := b.Compare(ctx, w.Size,
		func(ctx context.Context) (Sample, error) { return b.onLog(ctx, 1, measure) },
		func(ctx context.Context) (Sample, error) { return b.onDirect(ctx, direct.connections, measure) })
	if err != nil {
		return err
	}
	return b.Report(Place{Size: w.Size, Workers: b.workers()}, s, metricRate, metricP50, metricP99)
}
