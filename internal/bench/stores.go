package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/bench/load"
	"github.com/persistd/persistd/internal/bench/usage"
	"github.com/persistd/persistd/pkg/client"
)

// store is what workers save into and load from: by the same methods, whichever side it is of.
type store = client.Store[json.RawMessage]

// stores are the stores of one side, which its workers share: worker i has the i-th, and they begin again after the last.
type stores []store

func (s stores) of(worker int) store { return s[worker%len(s)] }

func (s stores) close() error {
	var errs []error
	for _, st := range s {
		errs = append(errs, st.Close())
	}
	return errors.Join(errs...)
}

// openLog opens n stores of persistd, with a connection to the nats-server each, as n processes would have.
func (b *Bench) openLog(ctx context.Context, n int) (stores, error) {
	var all stores
	for range n {
		st, err := client.Open[json.RawMessage](ctx, b.Rig.URL())
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		all = append(all, st)
	}
	return all, nil
}

// openDirect opens the synchronous store in MySQL with so many connections, all of which it keeps: none is made twice.
func (b *Bench) openDirect(connections int) (stores, error) {
	st, err := client.NewMySQLStore[json.RawMessage](b.Rig.DSN(), client.WithPool(client.Pool{MaxOpen: connections, MaxIdle: connections}))
	if err != nil {
		return nil, fmt.Errorf("open direct store: %w", err)
	}
	return stores{st}, nil
}

// onLog measures f on persistd: a daemon of its own on an empty database and an empty log, and n connections of clients. f is to return only when all
// that it published is committed, or settles that itself.
func (b *Bench) onLog(ctx context.Context, n int, f func(ctx context.Context, s stores) (Sample, error), settings ...string) (_ Sample, err error) {
	if err := b.fresh(ctx); err != nil {
		return nil, err
	}
	d, err := b.Rig.StartDaemon(ctx, settings...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was started.
	}
	defer d.Kill()
	s, err := b.openLog(ctx, n)
	if err != nil {
		return nil, err
	}
	sample, err := f(ctx, s)
	if err = errors.Join(err, s.close()); err != nil {
		return nil, errors.Join(err, d.Alive())
	}
	return sample, d.Stop(ctx) //nolint:wrapcheck // it says what was stopped.
}

// onDirect measures f on the synchronous store, with an empty database and no daemon.
func (b *Bench) onDirect(ctx context.Context, connections int, f func(ctx context.Context, s stores) (Sample, error)) (Sample, error) {
	if err := b.fresh(ctx); err != nil {
		return nil, err
	}
	s, err := b.openDirect(connections)
	if err != nil {
		return nil, err
	}
	sample, err := f(ctx, s)
	return sample, errors.Join(err, s.close())
}

// saver saves steps: each worker one run after the other.
type saver struct {
	stores stores
	states []json.RawMessage
	prefix string
	saved  atomic.Int64
	warm   int64 // steps of its warm-up
}

// The tables that are counted in the end.
const (
	stepsTable       = "workflow_steps"
	checkpointsTable = "workflow_checkpoints"
)

// variety is how many different states there are: enough that none is in any cache for being the only one.
const variety = 512

func newSaver(s stores, w Workload, prefix string) *saver {
	v := &saver{stores: s, prefix: prefix}
	for _, st := range w.Make("state", variety) {
		v.states = append(v.states, st.State)
	}
	return v
}

func (v *saver) state(worker, n int) json.RawMessage { return v.states[(worker*31+n)%len(v.states)] }

// step saves a worker's n-th step.
func (v *saver) step(ctx context.Context, worker, n int) error {
	run := v.prefix + "-" + strconv.Itoa(worker) + "-" + strconv.Itoa(n/stepsOfRun)
	if err := v.stores.of(worker).SaveStep(ctx, run, n%stepsOfRun, "node", v.state(worker, n)); err != nil {
		return err //nolint:wrapcheck // it says all.
	}
	v.saved.Add(1)
	return nil
}

// checkpoint saves a worker's n-th named checkpoint.
func (v *saver) checkpoint(ctx context.Context, worker, n int) error {
	id := v.prefix + "-" + strconv.Itoa(worker) + "-" + strconv.Itoa(n)
	if err := v.stores.of(worker).SaveCheckpoint(ctx, id, v.state(worker, n), n); err != nil {
		return err //nolint:wrapcheck // it says all.
	}
	v.saved.Add(1)
	return nil
}

// warmUp has each worker save some steps, committed, which opens the direct store's connections and each client's way to the stream. They are v's.
func (b *Bench) warmUp(ctx context.Context, v *saver, workers int) error {
	w := &saver{stores: v.stores, states: v.states, prefix: "warm"}
	ctx = client.ContextWithDurability(ctx, client.Committed)
	if _, err := load.Run(ctx, load.Options{Workers: workers, Count: int64(4 * workers)}, w.step); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	v.warm = w.saved.Load()
	return nil
}

// arrive waits until all that is in the log is committed, and checks that a table has the rows that v has saved and nothing else.
func (b *Bench) arrive(ctx context.Context, v *saver, table string) error {
	if err := b.committed(ctx); err != nil {
		return err
	}
	got, err := b.Rig.Count(ctx, table)
	want := int(v.saved.Load())
	if table == stepsTable {
		want += int(v.warm)
	}
	if err == nil && got != want {
		err = fmt.Errorf("%s has %d rows of %d that were acknowledged", table, got, want)
	}
	return err //nolint:wrapcheck // it says what was counted.
}

// overload is how long a system may take to do what it was sent too fast: that gives a bad figure, and is no failure.
const overload = 3 * time.Minute

// How long is measured: seldom for what comes some 50 to 200 times a second, so that there are as many as it takes for a quantile.
const (
	usually = 900 * time.Millisecond
	seldom  = 1500 * time.Millisecond
)

// timed does an operation for the usual time, or for o.For, after a third of that as warm-up, and finds its quantiles, its rate and what the processes used for
// one of them.
func (b *Bench) timed(ctx context.Context, o load.Options, op load.Op) (Sample, error) {
	o.For = cmp.Or(o.For, usually)
	if b.Short {
		o.For /= 20
	}
	o.WarmUp, o.Grace = o.For/3, overload
	meter, err := usage.Begin(b.Rig.Processes()...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	r, err := load.Run(ctx, o, op)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was run.
	}
	if r.Measured() == 0 && !b.Short {
		return nil, fmt.Errorf("nothing was done within %s: the machine is too busy to measure on", o.For)
	}
	used, err := meter.Since()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	s := Sample{metricP50: inMillis(r.Quantile(0.5)), metricP99: inMillis(r.Quantile(0.99)), metricRate: r.Rate()}
	s.AddUsage(used, int(r.Done))
	return s, nil
}

func inMillis(d time.Duration) float64 { return d.Seconds() * 1000 }
