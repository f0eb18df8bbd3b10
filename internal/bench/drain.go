package bench

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/bench/rig"
	"github.com/persistd/persistd/internal/bench/usage"
)

// drainScenario: how fast what waits in the log comes into the database.
func drainScenario() Scenario {
	return Scenario{
		Name: "drain",
		Help: "A backlog in the log goes into the database, against raw multi-row INSERT statements of the same rows.",
		Method: `The log is filled with steps while no daemon runs. Then a daemon is started; it is measured from the moment at which it has its first
partition, before it has read anything, until the database has the positions of the log's end. Its start-up before that is not counted; that it
has empty caches, opens its connections and grows its buffers is. The baseline is INSERT statements of 1000 rows (4 MiB at most) with the same rows, whose text is
made beforehand and sorted by key, each a transaction of its own, over as many connections as the daemon commits with, opened beforehand. Both write into an empty
table of a database that is at rest.`,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for _, w := range loads {
				if err := b.drain(ctx, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// drainBytes is how many bytes of states are drained in one measurement, drainSteps how many steps at most: two seconds or three, of which the start is a
// small part. againSteps is how many where that is measured beside something that does it again: both begin, and the table is to stay in the buffer pool.
const (
	metricDaemonCPU = rig.Daemon + cpuSuffix

	drainBytes = 128 << 20
	drainSteps = 120_000
	againSteps = 60_000
)

func (b *Bench) drain(ctx context.Context, w Workload) error {
	steps := w.Make("drain", b.Count(min(drainSteps, drainBytes/w.Bytes), 200))
	inserts := rawInserts(steps)
	s, err := b.Compare(ctx, w.Size,
		func(ctx context.Context) (Sample, error) { return b.drainOnce(ctx, steps) },
		func(ctx context.Context) (Sample, error) {
			if err := b.fresh(ctx); err != nil {
				return nil, err
			}
			sample, err := b.insertRaw(ctx, inserts, len(steps))
			if err == nil {
				err = b.complete(ctx, len(steps))
			}
			return sample, err
		})
	if err != nil {
		return err
	}
	return b.Report(Place{Size: w.Size}, s, metricRate, metricDaemonCPU)
}

// fresh makes the database empty and at rest.
func (b *Bench) fresh(ctx context.Context) error {
	if err := b.Rig.Empty(ctx); err != nil {
		return err //nolint:wrapcheck // it says what was emptied.
	}
	return b.Rig.Settle(ctx) //nolint:wrapcheck // it says what was waited for.
}

// drainOnce fills the log and drains it into an empty table.
func (b *Bench) drainOnce(ctx context.Context, steps []Step) (Sample, error) {
	return b.drainDuring(ctx, steps, func() {})
}

// drainDuring is drainOnce, with something that is begun as the drain begins.
func (b *Bench) drainDuring(ctx context.Context, steps []Step, beside func()) (Sample, error) {
	if err := b.Rig.Empty(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was emptied.
	}
	if err := b.fill(ctx, steps); err != nil {
		return nil, err
	}
	if err := b.Rig.Settle(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	s, err := b.catchUp(ctx, len(steps), beside)
	if err != nil {
		return nil, err
	}
	return s, b.complete(ctx, len(steps))
}

// catchUp starts a daemon, measures until what is in the log, n steps, is in the database, and stops it. beside is called as that begins.
func (b *Bench) catchUp(ctx context.Context, n int, beside func()) (Sample, error) {
	ends, err := b.Rig.Ends(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was looked for.
	}
	d, err := b.Rig.SpawnDaemon()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was started.
	}
	defer d.Kill()
	began, err := d.Acquired(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	meter, err := usage.Begin(b.Rig.Processes()...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	beside()
	ended, err := b.Rig.AwaitCommitted(ctx, ends)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	s, err := sampled(n, began, ended, meter)
	if err != nil {
		return nil, err
	}
	return s, d.Stop(ctx) //nolint:wrapcheck // it says what was stopped.
}

// complete checks that the table has all rows: what did not arrive was not fast.
func (b *Bench) complete(ctx context.Context, want int) error {
	if got, err := b.Rig.Count(ctx, "workflow_steps"); err != nil || got != want {
		if err == nil {
			err = fmt.Errorf("%d rows are in the table, not %d", got, want)
		}
		return err
	}
	return nil
}
