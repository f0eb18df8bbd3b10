package bench

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Of is which figure a bound is of.
type Of string

// The figures.
const (
	OfRatio Of = "ratio"
	OfOurs  Of = "ours"
)

// Op is the direction of a bound.
type Op string

// The directions.
const (
	AtLeast Op = ">="
	AtMost  Op = "<="
)

// Bound is what a figure is held to.
type Bound struct {
	Of    Of      `json:"of"`
	Op    Op      `json:"op"`
	Value float64 `json:"value"`
}

// String is like "ratio ≥ 0.95".
func (b Bound) String() string {
	sign := "≥"
	if b.Op == AtMost {
		sign = "≤"
	}
	return fmt.Sprintf("%s %s %s", b.Of, sign, strconv.FormatFloat(b.Value, 'g', -1, 64))
}

// met is whether v is within the bound.
func (b Bound) met(v float64) bool {
	if b.Op == AtMost {
		return v <= b.Value
	}
	return v >= b.Value
}

// Target is a bound of one figure of a scenario.
type Target struct {
	Scenario, Metric string
	// Case and Size are those of the result; an empty one is any.
	Case, Size string
	// Sync is that of the result; empty is any.
	Sync  Sync
	Bound Bound
	// Says is what the target means, for the document.
	Says string
	// Missed is why it is missed, where it is known to be. It is printed beside the figure.
	Missed string
}

// Targets are all that persistd is held to. The document and --assert have them from here.
func Targets() []Target {
	return []Target{
		{
			Scenario: "save", Metric: metricP50, Case: caseAlone, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtMost, 0.25},
			Says: "a lone worker waits a quarter as long as with the synchronous store", Missed: medianMissed,
		},
		{Scenario: "save", Metric: metricP99, Case: caseAlone, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtMost, 0.25}, Says: "so it does at the 99th percentile", Missed: aloneMissed},
		{
			Scenario: "save", Metric: metricP50, Case: caseTogether, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtMost, 0.1},
			Says: "64 workers that save as many steps as the synchronous store can take wait a tenth as long", Missed: togetherMissed,
		},
		{Scenario: "save", Metric: metricP99, Case: caseTogether, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtMost, 0.1}, Says: "so they do at the 99th percentile", Missed: togetherMissed},
		{
			Scenario: "fleet", Metric: metricRate, Case: caseEach, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtLeast, 3},
			Says:   "64 workers with a connection each get three times as many steps into MySQL as 64 direct writers",
			Missed: fleetMissed,
		},
		{
			Scenario: "fleet", Metric: metricRate, Case: caseShared, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtLeast, 5},
			Says:   "64 workers that share a connection get five times as many into it",
			Missed: fleetMissed,
		},
		{
			Scenario: "fleet", Metric: metricRate, Case: caseShared, Size: oneKiB, Sync: SyncAlways, Bound: Bound{OfRatio, AtLeast, 3},
			Says:   "three times as many when the log, too, is on disk before it acknowledges",
			Missed: alwaysMissed,
		},
		{
			Scenario: "read", Metric: metricP50, Case: caseEmptyTail, Size: oneKiB, Bound: Bound{OfRatio, AtMost, 1.5},
			Says:   "LoadLatest takes at most half as long again as a direct SELECT",
			Missed: readMissed,
		},
		{
			Scenario: "read", Metric: metricP99, Case: caseWaiting, Size: oneKiB, Bound: Bound{OfRatio, AtMost, 3},
			Says: "and at most three times as long as when idle, at the 99th percentile, while 100,000 steps are held up in the log",
		},
		{Scenario: "read", Metric: metricP99, Case: caseDrained, Size: oneKiB, Bound: Bound{OfRatio, AtMost, 3}, Says: "or while these go into MySQL", Missed: drainedMissed},
		{
			Scenario: "checkpoint", Metric: metricRate, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtLeast, 3},
			Says:   "64 callers commit three times as many checkpoints",
			Missed: checkpointMissed,
		},
		{
			Scenario: "idle", Metric: metricP50, Size: oneKiB, Sync: SyncInterval, Bound: Bound{OfRatio, AtMost, 2},
			Says: "a lone step is known to be in MySQL in twice the time of a direct commit",
		},
		{
			Scenario: "drain", Metric: metricRate, Size: oneKiB, Bound: Bound{OfRatio, AtLeast, 0.95},
			Says:   "a backlog of 1 KiB steps is drained nearly as fast as MySQL takes multi-row inserts",
			Missed: drainMissed,
		},
		{Scenario: "drain", Metric: metricRate, Size: SizeSteps, Bound: Bound{OfRatio, AtLeast, 0.95}, Says: "so is one of real agent steps, of about 10 KB", Missed: drainMissed},
		{
			Scenario: "drain", Metric: metricDaemonCPU, Size: oneKiB, Bound: Bound{OfOurs, AtMost, 10},
			Says:   "µs of the daemon's CPU for each 1 KiB step; the nats-server's is not counted",
			Missed: daemonMissed,
		},
		{
			Scenario: "memory", Metric: metricDaemonMemory, Case: "1,000,000 steps", Bound: Bound{OfOurs, AtMost, 96},
			Says: "MiB of the daemon's memory at most, with a backlog of 1,000,000 steps",
		},
		{Scenario: "memory", Metric: metricFlat, Case: "1,000,000 steps", Bound: Bound{OfRatio, AtMost, 1.15}, Says: "no more than with a backlog of 10,000, but for noise", Missed: flatMissed},
		{Scenario: "memory", Metric: metricFlat, Case: "100,000 steps", Bound: Bound{OfRatio, AtMost, 1.15}, Says: "no more than with a backlog of 10,000, but for noise", Missed: flatMissed},
		{Scenario: "replay", Metric: metricRate, Case: caseReplay, Bound: Bound{OfRatio, AtLeast, 0.95}, Says: "a replay is not slower than a drain, but for noise", Missed: replayMissed},
		{
			Scenario: "replay", Metric: metricRate, Case: caseCatchUp, Bound: Bound{OfRatio, AtLeast, 0.95},
			Says: "a restored database catches up no slower than a backlog drains, but for noise", Missed: replayMissed,
		},
		{Scenario: "grown", Metric: metricRate, Bound: Bound{OfRatio, AtLeast, 0.8}, Says: "10,000,000 rows in the table cost at most a fifth of the rate", Missed: grownMissed},
	}
}

// judge sets the target and whether it is met. Of several that fit, the first counts.
func (r *Result) judge(targets []Target) {
	for _, t := range targets {
		if !t.fits(r) {
			continue
		}
		if t.Bound.Of == OfRatio && r.Ratio == nil {
			continue
		}
		r.Target = &t.Bound
		r.Met = new(t.Bound.met(r.judged()))
		return
	}
}

// judged is the figure that the target is of.
func (r *Result) judged() float64 {
	if r.Target.Of == OfRatio {
		return *r.Ratio
	}
	return r.Ours
}

func (t Target) fits(r *Result) bool {
	return t.Scenario == r.Scenario && t.Metric == r.Metric && (t.Case == "" || t.Case == r.Case) && (t.Size == "" || t.Size == r.Size) &&
		(t.Sync == "" || t.Sync == r.Sync)
}

// String is the target in a line.
func (t Target) String() string {
	return fmt.Sprintf("%s: %s (%s)", t.of(), t.Bound, t.Says)
}

// of is which figure of the scenario it is of.
func (t Target) of() string {
	parts := slices.DeleteFunc([]string{t.Metric, t.Case, t.Size, string(t.Sync)}, func(s string) bool { return s == "" })
	return strings.Join(parts, ", ")
}

// Assert returns an error that names the targets that were missed, or says that none was measured.
func Assert(results []Result) error {
	var missed []string
	judged := 0
	for i := range results {
		r := &results[i]
		if r.Met == nil {
			continue
		}
		judged++
		if !*r.Met {
			missed = append(missed, fmt.Sprintf("%s, %s: %s, and is %s", r.Scenario, r.of(), r.Target, number(r.judged())))
		}
	}
	switch {
	case judged == 0:
		return errors.New("nothing that has a target was measured: --list shows what has one")
	case len(missed) > 0:
		return fmt.Errorf("%d of %d targets missed: %s", len(missed), judged, strings.Join(missed, "; "))
	}
	return nil
}
