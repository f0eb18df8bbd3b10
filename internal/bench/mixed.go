package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/bench/rig"
	"github.com/persistd/persistd/internal/bench/usage"
	"github.com/persistd/persistd/pkg/client"
)

// mixedScenario: writers and readers together.
func mixedScenario() Scenario {
	return Scenario{
		Name: "mixed",
		Help: "16 workers that save and load runs at once, against the direct synchronous store; and a drain beside 4 readers, against one alone.",
		Method: `"16 workers": each worker has a client of its own and does one thing after the other, four SaveStep and then one LoadLatest of the same
run, whose answer must be the step just saved, 20 steps a run. The rate is of both together, and of the log's side counts only with everything
committed: the time ends when the database has the positions of the log's end. The baseline is the same workers with the store that
writes MySQL directly, one transaction a step, each with a connection of its own. Before that, each worker has saved and loaded a step. "drain beside 4 readers" is a drain, measured as the scenario drain does, while four workers call LoadLatest
of runs of the backlog as fast as they can, against a drain without them; every answer must be the run's last step. The readers take their share
of the same cores. All states have 1 KiB.`,
		Syncs: true,
		Run: func(ctx context.Context, b *Bench) error {
			if err := b.mixed(ctx); err != nil || b.Mode == SyncAlways {
				return err // how the log syncs is nothing to a drain
			}
			return b.drainBesideReads(ctx)
		},
	}
}

const (
	mixedWorkers  = 16
	mixedFor      = 2 * time.Second
	mixedReaders  = 4
	savesForARead = 4
	metricReads   = "read_rate"
	metricSaves   = "save_rate"
)

// opener opens a worker's store.
type opener func(ctx context.Context) (client.Store[json.RawMessage], error)

func (b *Bench) mixed(ctx context.Context) error {
	logged := func(ctx context.Context) (client.Store[json.RawMessage], error) {
		return client.Open[json.RawMessage](ctx, b.Rig.URL()) //nolint:wrapcheck // it says what was opened.
	}
	direct := func(context.Context) (client.Store[json.RawMessage], error) {
		return client.NewMySQLStore[json.RawMessage](b.Rig.DSN()) //nolint:wrapcheck // as above.
	}
	s, err := b.Compare(ctx, "workers",
		func(ctx context.Context) (_ Sample, err error) {
			if err := b.fresh(ctx); err != nil {
				return nil, err
			}
			d, err := b.Rig.StartDaemon(ctx)
			if err != nil {
				return nil, err //nolint:wrapcheck // it says what was started.
			}
			defer func() { err = errors.Join(err, d.Stop(context.WithoutCancel(ctx))) }()
			return b.work(ctx, logged, b.committed)
		},
		func(ctx context.Context) (Sample, error) {
			if err := b.fresh(ctx); err != nil {
				return nil, err
			}
			return b.work(ctx, direct, func(context.Context) error { return nil }, rig.Client, rig.Database)
		})
	if err != nil {
		return err
	}
	return b.Report(Place{Case: fmt.Sprintf("%d workers", mixedWorkers), Size: oneKiB}, s, metricRate, metricSaves, metricReads)
}

// committed waits until the database has what is in the log.
func (b *Bench) committed(ctx context.Context) error {
	ends, err := b.Rig.Ends(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it says what was looked for.
	}
	_, err = b.Rig.AwaitCommitted(ctx, ends)
	return err //nolint:wrapcheck // it says what was waited for.
}

// work has the workers work, and then waits for the end of what they did.
func (b *Bench) work(ctx context.Context, open opener, finish func(context.Context) error, processes ...string) (_ Sample, err error) {
	stores := make([]client.Store[json.RawMessage], mixedWorkers)
	for i := range stores {
		if stores[i], err = open(ctx); err != nil {
			return nil, fmt.Errorf("open worker's store: %w", err)
		}
		defer func() { err = errors.Join(err, stores[i].Close()) }()
	}
	length := mixedFor
	if b.Short {
		length = 100 * time.Millisecond
	}
	steps := Sized(1<<10).Make("mixed", 200)
	if err := warm(ctx, stores, steps[0]); err != nil {
		return nil, err
	}
	meter, err := usage.Begin(b.Rig.Processes(processes...)...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	var saves, reads atomic.Int64
	began := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for i, st := range stores {
		g.Go(func() error {
			for n := 0; time.Since(began) < length; n++ {
				run, step := fmt.Sprintf("mixed-%d-%d", i, n/stepsOfRun), n%stepsOfRun
				if err := st.SaveStep(gctx, run, step, "node", steps[n%len(steps)].State); err != nil {
					return fmt.Errorf("save: %w", err)
				}
				saves.Add(1)
				if n%savesForARead == savesForARead-1 {
					if err := loadLatest(gctx, st, run, step); err != nil {
						return err
					}
					reads.Add(1)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // wrapped above.
	}
	if err := finish(ctx); err != nil {
		return nil, err
	}
	ended := time.Now()
	s, err := sampled(int(saves.Load()+reads.Load()), began, ended, meter)
	if err != nil {
		return nil, err
	}
	s[metricSaves], s[metricReads] = float64(saves.Load())/ended.Sub(began).Seconds(), float64(reads.Load())/ended.Sub(began).Seconds()
	return s, b.complete(ctx, int(saves.Load())+len(stores))
}

// warm has each store save and load a step, which opens its connections.
func warm(ctx context.Context, stores []client.Store[json.RawMessage], s Step) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, st := range stores {
		g.Go(func() error {
			run := fmt.Sprintf("warm-%d", i)
			if err := st.SaveStep(ctx, run, s.Step, s.Node, s.State); err != nil {
				return fmt.Errorf("save: %w", err)
			}
			return loadLatest(ctx, st, run, s.Step)
		})
	}
	return g.Wait() //nolint:wrapcheck // wrapped above.
}

// loadLatest loads a run's latest step, which must be the one.
func loadLatest(ctx context.Context, st client.Store[json.RawMessage], run string, want int) error {
	_, step, err := st.LoadLatest(ctx, run)
	if err == nil && step != want {
		err = fmt.Errorf("read step %d, not %d", step, want)
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", run, err)
	}
	return nil
}

// drainBesideReads drains with readers and without.
func (b *Bench) drainBesideReads(ctx context.Context) error {
	w := Sized(1 << 10)
	steps := w.Make("beside", b.Count(againSteps, 200))
	s, err := b.Compare(ctx, "drain beside readers",
		func(ctx context.Context) (Sample, error) { return b.drainRead(ctx, steps) },
		func(ctx context.Context) (Sample, error) { return b.drainOnce(ctx, steps) })
	if err != nil {
		return err
	}
	return b.Report(Place{Case: fmt.Sprintf("drain beside %d readers", mixedReaders), Size: w.Size}, s, metricRate, metricReads)
}

// drainRead drains the steps while readers read them.
func (b *Bench) drainRead(ctx context.Context, steps []Step) (_ Sample, err error) {
	last := map[string]int{}
	for _, s := range steps {
		last[s.Run] = max(last[s.Run], s.Step)
	}
	var stores []client.Store[json.RawMessage]
	defer func() {
		for _, st := range stores {
			err = errors.Join(err, st.Close())
		}
	}()
	for range mixedReaders {
		st, err := client.Open[json.RawMessage](ctx, b.Rig.URL())
		if err != nil {
			return nil, fmt.Errorf("open reader: %w", err)
		}
		stores = append(stores, st)
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var reads atomic.Int64
	g, gctx := errgroup.WithContext(reading)
	began := time.Now()
	s, err := b.drainDuring(ctx, steps, func() {
		began = time.Now()
		for i, st := range stores {
			g.Go(func() error {
				for n := i; ; n += mixedReaders {
					run := steps[n%len(steps)].Run
					if err := loadLatest(gctx, st, run, last[run]); err != nil {
						if reading.Err() != nil {
							return nil //nolint:nilerr // the drain is over.
						}
						return err
					}
					reads.Add(1)
				}
			})
		}
	})
	took := time.Since(began)
	stop()
	if err := errors.Join(err, g.Wait()); err != nil {
		return nil, err
	}
	s[metricReads] = float64(reads.Load()) / took.Seconds()
	return s, nil
}
