package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/persistd/persistd/internal/bench/load"
)

// readScenario: how long LoadLatest takes, with nothing, a little and much in the log that is not in MySQL.
func readScenario() Scenario {
	return Scenario{
		Name: "read",
		Help: "How long LoadLatest takes with an empty, a short and a long tail, and behind a backlog, against a direct SELECT.",
		Method: `Ours is LoadLatest of persistd's client; the baseline is LoadLatest of the synchronous store of the same package, one SELECT on the same tables, by one worker as fast as it is
answered, while the daemon has nothing to do. Each answer is checked to be the latest step that was saved, and one that is not is a failure. "empty tail": everything is committed, and the
log still holds it, as it does within the replay window. "short tail" and "long tail": 3 and 300 steps of each run are in the log and not in MySQL, whose table is locked against writes (LOCK TABLES … READ)
while ours is measured; the baseline is measured when they are committed.
Behind a backlog ours is compared with itself when idle; both answer 200 reads a second in an open loop, so that a stall counts for all that it kept from being asked. "100,000 steps wait":
the table is locked against writes. "100,000 steps are drained": the lock is gone, and the daemon commits as fast as it can on the same cores; "waiting" is how many still waited at the
end of that measurement. What a read used then has the commits beside it. In each the first quarter is warm-up.`,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for i, w := range loads {
				if err := b.read(ctx, w, i == 0); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// The cases that have a target, and how many steps still waited.
const (
	caseEmptyTail = "empty tail"
	caseWaiting   = "100,000 steps wait"
	caseDrained   = "100,000 steps are drained"
	metricWaiting = "waiting"
)

// reading is runs to be read, all of the same length.
type reading struct {
	bench  *Bench
	states *saver // for its states
	prefix string
	runs   int
	steps  int // of each run, so far
}

func (r *reading) run(i int) string { return fmt.Sprintf("%s-%05d", r.prefix, i) }

// write puts n more steps of each run into the log.
func (r *reading) write(ctx context.Context, n int) error {
	steps := make([]Step, 0, n*r.runs)
	for range n {
		for i := range r.runs {
			steps = append(steps, Step{Run: r.run(i), Step: r.steps, Node: "node", State: r.states.state(i, r.steps), No: uint64(r.steps) + 1}) //nolint:gosec // G115: a few hundred.
		}
		r.steps++
	}
	return r.bench.fill(ctx, steps)
}

// from reads the latest step of one run after the other, in no order, from s.
func (r *reading) from(s stores) load.Op {
	return func(ctx context.Context, worker, n int) error {
		const stride = 7919 // a prime: all runs have their turn
		run := r.run((worker*101 + n*stride) % r.runs)
		_, step, err := s.of(worker).LoadLatest(ctx, run)
		if err == nil && step != r.steps-1 {
			err = fmt.Errorf("the latest step of %s is %d, it was answered %d", run, r.steps-1, step)
		}
		return err //nolint:wrapcheck // it says all.
	}
}

// committed is how many of the steps are in the table.
func (r *reading) committed(ctx context.Context) (n int, err error) {
	if err := r.bench.Rig.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM workflow_steps WHERE run_id LIKE ?", r.prefix+"-%").Scan(&n); err != nil {
		return 0, fmt.Errorf("count committed steps: %w", err)
	}
	return n, nil
}

// held writes n more steps of each run and reads, while commits are held, and sees that they were.
func (r *reading) held(ctx context.Context, ours stores, n int, o load.Options) (Sample, error) {
	before := r.runs * r.steps
	if err := r.write(ctx, n); err != nil {
		return nil, err
	}
	sample, err := r.bench.timed(ctx, o, r.from(ours))
	if err != nil {
		return nil, err
	}
	there, err := r.committed(ctx)
	if err == nil && there != before {
		err = fmt.Errorf("commits were to be held at %d steps, and %d are committed", before, there)
	}
	return sample, err
}

// hold keeps the daemon from committing steps until release is called: readers are let in.
func (b *Bench) hold(ctx context.Context) (release func() error, err error) {
	conn, err := b.Rig.DB().Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("hold commits: %w", err)
	}
	if _, err := conn.ExecContext(ctx, "LOCK TABLES workflow_steps READ"); err != nil {
		return nil, errors.Join(fmt.Errorf("hold commits: %w", err), conn.Close())
	}
	return func() error {
		_, err := conn.ExecContext(context.WithoutCancel(ctx), "UNLOCK TABLES")
		return errors.Join(err, conn.Close())
	}, nil
}

// patient are settings of a daemon that is held: it is to keep its partitions meanwhile, and not to give a commit up.
var patient = []string{"PERSISTD_LEASE_DURATION=10m", "PERSISTD_MYSQL_COMMIT_TIMEOUT=4m"}

func (b *Bench) read(ctx context.Context, w Workload, backlog bool) error {
	_, err := b.onLog(ctx, 1, func(ctx context.Context, ours stores) (Sample, error) {
		direct, err := b.openDirect(1)
		if err != nil {
			return nil, err
		}
		err = b.readTails(ctx, w, ours, direct)
		if err == nil && backlog {
			err = b.readBehind(ctx, w, ours)
		}
		return nil, errors.Join(err, direct.close())
	}, patient...)
	return err
}

// readTails compares reads of runs with tails of three lengths.
func (b *Bench) readTails(ctx context.Context, w Workload, ours, direct stores) error {
	for _, c := range []struct {
		name       string
		runs, tail int
	}{{caseEmptyTail, 500, 0}, {"short tail", 500, 3}, {"long tail", 20, b.Count(300, 30)}} {
		r := &reading{bench: b, states: newSaver(nil, w, ""), prefix: "read-" + strings.Fields(c.name)[0], runs: c.runs}
		if err := errors.Join(r.write(ctx, stepsOfRun), b.committed(ctx)); err != nil {
			return err
		}
		s, err := b.Compare(ctx, c.name+" "+w.Size,
			func(ctx context.Context) (Sample, error) { return b.readTail(ctx, r, ours, c.tail) },
			func(ctx context.Context) (Sample, error) {
				return b.timed(ctx, load.Options{Workers: 1}, r.from(direct))
			})
		if err != nil {
			return err
		}
		if err := b.Report(Place{Case: c.name, Size: w.Size}, s, metricP50, metricP99); err != nil {
			return err
		}
	}
	return nil
}

// readTail reads while tail steps of each run are held in the log.
func (b *Bench) readTail(ctx context.Context, r *reading, ours stores, tail int) (_ Sample, err error) {
	if tail == 0 {
		return b.timed(ctx, load.Options{Workers: 1}, r.from(ours))
	}
	release, err := b.hold(ctx)
	if err != nil {
		return nil, err
	}
	sample, err := r.held(ctx, ours, tail, load.Options{Workers: 1})
	if err := errors.Join(err, release()); err != nil {
		return nil, err
	}
	return sample, b.committed(ctx)
}

// The backlog: so many steps, of so many runs. readRate is how many reads a second there are beside it, of readers at most at once.
const (
	backlogSteps = 100_000
	backlogRuns  = 5000
	readRate     = 200
	readers      = 16
)

// readBehind compares reads behind a backlog with reads of an idle system.
func (b *Bench) readBehind(ctx context.Context, w Workload, ours stores) error {
	r := &reading{bench: b, states: newSaver(nil, w, ""), prefix: "behind", runs: b.Count(backlogRuns, 100)}
	if err := errors.Join(r.write(ctx, 1), b.committed(ctx)); err != nil {
		return err
	}
	o := load.Options{Workers: readers, Rate: readRate, For: seldom}
	s, err := b.Compare(ctx, "backlog "+w.Size,
		func(ctx context.Context) (Sample, error) { return b.behindOnce(ctx, r, ours, o) },
		func(ctx context.Context) (Sample, error) {
			idle, err := b.timed(ctx, o, r.from(ours))
			if err != nil {
				return nil, err
			}
			return parts(idle, idle), nil
		})
	if err != nil {
		return err
	}
	return errors.Join(
		b.Report(Place{Case: caseWaiting, Size: w.Size}, s.part(partHeld), metricP50, metricP99),
		b.Report(Place{Case: caseDrained, Size: w.Size}, s.part(partDrained), metricP50, metricP99),
	)
}

// behindOnce puts the backlog into the log and reads, first while nothing is committed and then while everything is.
func (b *Bench) behindOnce(ctx context.Context, r *reading, ours stores, o load.Options) (Sample, error) {
	release, err := b.hold(ctx)
	if err != nil {
		return nil, err
	}
	held, err := r.held(ctx, ours, b.Count(backlogSteps/backlogRuns, 10), o)
	if err := errors.Join(err, release()); err != nil {
		return nil, err
	}
	drained, err := b.timed(ctx, o, r.from(ours))
	if err != nil {
		return nil, err
	}
	there, err := r.committed(ctx)
	if err != nil {
		return nil, err
	}
	drained[metricWaiting] = float64(r.runs*r.steps - there)
	return parts(held, drained), b.committed(ctx)
}

// The two parts of a measurement behind a backlog.
const (
	partHeld    = "held "
	partDrained = "drained "
)

// parts is both in one sample, but for their rate, which is given.
func parts(held, drained Sample) Sample {
	both := Sample{}
	for prefix, s := range map[string]Sample{partHeld: held, partDrained: drained} {
		for metric, v := range s {
			if metric != metricRate {
				both[prefix+metric] = v
			}
		}
	}
	return both
}

// part is the metrics that begin with prefix, without it.
func (s Series) part(prefix string) Series {
	cut := func(samples []Sample) (part []Sample) {
		for _, sample := range samples {
			p := Sample{}
			for metric, v := range sample {
				if name, ok := strings.CutPrefix(metric, prefix); ok {
					p[name] = v
				}
			}
			part = append(part, p)
		}
		return part
	}
	return Series{Ours: cut(s.Ours), Baseline: cut(s.Baseline)}
}
