package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/bench/load"
	"github.com/persistd/persistd/internal/bench/usage"
)

// fleetScenario: how many steps a second come into MySQL from many workers.
func fleetScenario() Scenario {
	return Scenario{
		Name: "fleet",
		Help: "Steps a second of 64 workers, acknowledged and committed, against 64 writers of the synchronous MySQL store.",
		Method: `64 workers save a fixed number of steps, each as fast as it is answered (closed loop; the open loop is in save), a run after the other. Ours is timed from the first call until the database has the
positions of the log's end, asked of it by plain SQL: all is acknowledged and committed then. "acknowledged" is the rate until the last acknowledgement. The baseline, 64
writers of the synchronous store with 64, 24 or 8 connections, whichever was fastest when tried beforehand, is timed until its last call returned, which is the same for it; no daemon runs. It is measured once a round, beside both
cases of ours. "a connection each": 64 clients, as of 64
processes, though they share this one's cores and its collector. "one connection": the 64 share one client, as goroutines of one process do. Before that, the daemon is started and each worker has saved four steps. All
processes share the machine. In the end the table is checked to have every step.`,
		Syncs: true,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for _, w := range loads {
				if err := b.fleet(ctx, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// The scenario's cases, and its metric beside the rate.
const (
	caseEach           = "a connection each"
	caseShared         = "one connection"
	metricAcknowledged = "acknowledged"
)

// fleetSteps is how many steps the fleet saves, fleetBytes how many bytes of states at most.
const (
	fleetSteps = 16_000
	fleetBytes = 64 << 20
)

// fleet compares many workers, with a connection each and with one together, with those of the synchronous store, which share a pool.
func (b *Bench) fleet(ctx context.Context, w Workload) error {
	direct, err := b.fastest(ctx, w, savesSteps, b.steps(w))
	if err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	n := b.Count(min(fleetSteps, fleetBytes/w.Bytes), 640)
	measure := func(commits bool) func(ctx context.Context, s stores) (Sample, error) {
		return func(ctx context.Context, s stores) (Sample, error) { return b.fleetOnce(ctx, s, w, n, commits) }
	}
	logged := func(connections int) Measure {
		return func(ctx context.Context) (Sample, error) { return b.onLog(ctx, connections, measure(false)) }
	}
	cases := []Side{{caseEach, logged(b.workers())}, {caseShared, logged(1)}}
	all, err := b.CompareAll(ctx, w.Size, cases, func(ctx context.Context) (Sample, error) { return b.onDirect(ctx, direct.connections, measure(true)) })
	if err != nil {
		return err
	}
	for i, s := range all {
		if err := b.Report(Place{Case: cases[i].Name, Size: w.Size, Workers: b.workers()}, s, metricRate, metricAcknowledged); err != nil {
			return err
		}
	}
	return nil
}

// fleetWait bounds a measurement: nothing that takes longer is worth a figure.
const fleetWait = 2 * time.Minute

// fleetOnce has the fleet save n steps. commits says that the stores commit what they acknowledge, so that nothing is left to wait for.
func (b *Bench) fleetOnce(ctx context.Context, s stores, w Workload, n int, commits bool) (Sample, error) {
	v := newSaver(s, w, "fleet")
	if err := b.warmUp(ctx, v, b.workers()); err != nil {
		return nil, err
	}
	meter, err := usage.Begin(b.Rig.Processes()...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	began := time.Now()
	r, err := load.Run(ctx, load.Options{Workers: b.workers(), Count: int64(n), Grace: fleetWait}, v.step)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was run.
	}
	ended := time.Now()
	if !commits {
		if err := b.committed(ctx); err != nil {
			return nil, err
		}
		ended = time.Now()
	}
	used, err := meter.Since()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	sample := Sample{metricRate: float64(n) / ended.Sub(began).Seconds(), metricAcknowledged: r.Rate()}
	sample.AddUsage(used, n)
	return sample, b.arrive(ctx, v, stepsTable)
}
