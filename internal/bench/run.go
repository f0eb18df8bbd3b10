package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/bench/rig"
)

// Report is what was found, and of what.
type Report struct {
	Machine  Machine
	Versions Versions
	// Database is how its server was set; empty when none told.
	Database rig.Settings
	// Steps is the file of real steps; nil is none.
	Steps *StepsFile
	// Began is when.
	Began time.Time
	// Options are how it was measured.
	Options Options
	Results []Result
	// Failures are of the scenarios that were not measured to their end.
	Failures []Failure
}

// Failure is why a scenario was not measured to its end. What it had found by then counts.
type Failure struct {
	Scenario string
	Sync     Sync
	Err      error
}

// Versions are of what was measured; those that no server told are empty.
type Versions struct{ Persistd, Go, NATS, Database string }

// Scenarios are all there are, in the order in which they are measured.
func Scenarios() []Scenario {
	return []Scenario{
		saveScenario(), fleetScenario(), drainScenario(), readScenario(), checkpointScenario(), idleScenario(), memoryScenario(), replayScenario(), mixedScenario(), grownScenario(),
	}
}

// Find returns the scenarios of these names, in their own order; all of them when none is named.
func Find(names []string) ([]Scenario, error) {
	all := Scenarios()
	if len(names) == 0 {
		return all, nil
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(s Scenario) bool { return s.Name == n }) {
			return nil, fmt.Errorf("no scenario is called %q: persistd bench --list shows them", n)
		}
	}
	return slices.DeleteFunc(all, func(s Scenario) bool { return !slices.Contains(names, s.Name) }), nil
}

// Run measures the scenarios, each on a rig of its own. One that fails does not keep the others from being measured: the error, at the end, is of all that
// failed. When ctx ends, Run returns what was found by then.
func Run(ctx context.Context, o Options, scenarios []Scenario) (r Report, err error) {
	if o.Watch == nil {
		o.Watch = silent{}
	}
	r = Report{Machine: describe(o.Dir), Versions: Versions{Persistd: o.Version, Go: runtime.Version()}, Began: time.Now(), Options: o}
	if o.Steps != "" {
		if r.Steps, err = describeSteps(o.Steps); err != nil {
			return r, err
		}
	}
	if o.Dir, err = os.MkdirTemp(o.Dir, "persistd-bench-"); err != nil {
		return r, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	known := pools{}
	for _, s := range scenarios {
		modes := o.Sync
		if !s.Syncs {
			modes = modes[:1]
		}
		for i, mode := range modes {
			b := &Bench{Options: o, Mode: mode, scenario: s.Name, again: i > 0, pools: known}
			failed := r.measure(ctx, b, s)
			if failed != nil {
				r.Failures = append(r.Failures, Failure{s.Name, mode, failed})
				err = errors.Join(err, failed)
			}
			if ctx.Err() != nil {
				return r, errors.Join(err, context.Cause(ctx))
			}
			if failed != nil {
				b.Say("failed: " + failed.Error())
			}
		}
	}
	return r, err
}

// measure adds what one scenario finds.
func (r *Report) measure(ctx context.Context, b *Bench, s Scenario) (err error) {
	began := time.Now()
	b.Say(fmt.Sprintf("starting nats-server (sync %s), %s and persistd, privately", b.Mode, b.Engine))
	b.Rig, err = rig.Open(ctx, rig.Options{Engine: b.Engine, SyncAlways: b.Mode == SyncAlways, Connections: b.Connections, Binary: b.Binary, Dir: b.Dir})
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	defer func() { err = errors.Join(err, b.Rig.Close()) }()
	r.Versions.NATS = b.Rig.Conn().ConnectedServerVersion()
	if r.Versions.Database, err = b.Rig.Version(ctx); err != nil {
		return err //nolint:wrapcheck // it says what was asked.
	}
	if r.Database, err = b.Rig.Settings(ctx); err != nil {
		return err //nolint:wrapcheck // as above.
	}
	if err = s.Run(ctx, b); err != nil {
		err = fmt.Errorf("%s: %w", s.Name, err)
	}
	r.Results = append(r.Results, b.results...)
	b.Say(fmt.Sprintf("took %.0f s", time.Since(began).Seconds()))
	return err
}
