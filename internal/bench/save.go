package bench

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/bench/load"
)

// saveScenario: how long a worker waits for SaveStep.
func saveScenario() Scenario {
	return Scenario{
		Name: "save",
		Help: "How long a worker waits for SaveStep to be acknowledged, against the synchronous MySQL store.",
		Method: `Ours is SaveStep with the default durability: it returns when the log has the step. A daemon commits what comes meanwhile, on the same cores. The
baseline is SaveStep of the synchronous store of the same package: it returns when the step's own transaction is committed; no daemon runs. Latency is of the whole call: marshalling
the state, all that the client does, and the way there and back.
One worker: each side as fast as it answers (closed loop). 64 workers: the baseline as fast as it answers, with 64, 24 or 8
connections, whichever was fastest when tried beforehand; ours, with a connection for each worker, is then sent as many steps a second as the baseline managed in the best of those
tries, in an open loop: latency counts from when a step was to be sent. (An open loop at a system's own limit has no latency, only a queue that grows; so the baseline has the loop that flatters it.) "64 workers at half": both in an open loop at half that rate, with the first size.
In each measurement the first quarter is warm-up and not counted. It ends with a check that the table has every step that was acknowledged.`,
		Syncs: true,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for i, w := range loads {
				if err := b.saveAlone(ctx, w); err != nil {
					return err
				}
				if err := b.saveTogether(ctx, w, i == 0); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// The scenario's cases that have a target.
const (
	caseAlone    = "1 worker"
	caseTogether = "64 workers"
)

// saving measures the latencies of saving steps, and sees that all of them arrive.
func (b *Bench) saving(ctx context.Context, s stores, w Workload, o load.Options) (Sample, error) {
	v := newSaver(s, w, "save")
	if err := b.warmUp(ctx, v, o.Workers); err != nil {
		return nil, err
	}
	sample, err := b.timed(ctx, o, v.step)
	if err != nil {
		return nil, err
	}
	return sample, b.arrive(ctx, v, stepsTable)
}

func (b *Bench) saveAlone(ctx context.Context, w Workload) error {
	measure := func(ctx context.Context, s stores) (Sample, error) {
		return b.saving(ctx, s, w, load.Options{Workers: 1})
	}
	s, err := b.Compare(ctx, caseAlone+" "+w.Size,
		func(ctx context.Context) (Sample, error) { return b.onLog(ctx, 1, measure) },
		func(ctx context.Context) (Sample, error) { return b.onDirect(ctx, 1, measure) })
	if err != nil {
		return err
	}
	return b.Report(Place{Case: caseAlone, Size: w.Size}, s, metricP50, metricP99, metricRate)
}

// saveTogether has many workers save at the rate of the baseline, and, where half is asked for, at half of it.
func (b *Bench) saveTogether(ctx context.Context, w Workload, half bool) error {
	with := func(rate float64) func(ctx context.Context, s stores) (Sample, error) {
		return func(ctx context.Context, s stores) (Sample, error) {
			return b.saving(ctx, s, w, load.Options{Workers: b.workers(), Rate: rate})
		}
	}
	direct, err := b.fastest(ctx, w, savesSteps, b.steps(w))
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	rate := max(direct.rate, float64(b.workers())) // of a store that stood still there would be no loop
	type at struct {
		name           string
		ours, baseline float64
	}
	together := fmt.Sprintf("%d workers", b.workers())
	cases := []at{{together, rate, 0}}
	if half {
		cases = append(cases, at{together + " at half", rate / 2, rate / 2})
	}
	for _, c := range cases {
		s, err := b.Compare(ctx, c.name+" "+w.Size,
			func(ctx context.Context) (Sample, error) { return b.onLog(ctx, b.workers(), with(c.ours)) },
			func(ctx context.Context) (Sample, error) {
				return b.onDirect(ctx, direct.connections, with(c.baseline))
			})
		if err != nil {
			return err
		}
		if err := b.Report(Place{Case: c.name, Size: w.Size}, s, metricP50, metricP99, metricRate); err != nil {
			return err
		}
	}
	return nil
}
