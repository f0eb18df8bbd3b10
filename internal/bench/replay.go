package bench

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/persistd/persistd/internal/bench/rig"
	"github.com/persistd/persistd/internal/bench/usage"
)

// replayScenario: how fast what was applied before is applied again.
func replayScenario() Scenario {
	return Scenario{
		Name: "replay",
		Help: "A log is applied again, to another database and to one restored from a dump, against the drain of the same log.",
		Method: `The baseline is a drain, as the scenario drain measures it, once a round. "replay" is the command persistd replay --to another, empty database; the time is what the
command itself says it took, from its first event to its last commit, without its start-up and the making of the tables, and the rows are counted
afterwards. What it used is told with its start-up, its own process as the daemon, which it stands in for. "catch-up" is a daemon on a database whose rows and positions are those of before the drain, as a restored dump has
them, measured as a drain is.`,
		Run: func(ctx context.Context, b *Bench) error {
			loads, err := b.Workloads()
			if err != nil {
				return err
			}
			for _, w := range loads {
				if err := b.replay(ctx, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// What is applied again.
const (
	caseReplay  = "replay"
	caseCatchUp = "catch-up"
)

func (b *Bench) replay(ctx context.Context, w Workload) error {
	steps := w.Make("replay", b.Count(min(againSteps, drainBytes/w.Bytes), 200))
	again := []Side{
		{caseReplay, func(ctx context.Context) (Sample, error) { return b.replayOnce(ctx, steps) }},
		{caseCatchUp, func(ctx context.Context) (Sample, error) { return b.restoreOnce(ctx, steps) }},
	}
	all, err := b.CompareAll(ctx, w.Size, again, func(ctx context.Context) (Sample, error) { return b.drainOnce(ctx, steps) })
	if err != nil {
		return err
	}
	for i, s := range all {
		if err := b.Report(Place{Case: again[i].Name, Size: w.Size}, s, metricRate); err != nil {
			return err
		}
	}
	return nil
}

// replayedDatabase is what is replayed into.
const replayedDatabase = "replayed"

// replayOnce replays the steps into another database.
func (b *Bench) replayOnce(ctx context.Context, steps []Step) (Sample, error) {
	if err := b.Rig.Empty(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was emptied.
	}
	if err := b.fill(ctx, steps); err != nil {
		return nil, err
	}
	if err := b.Rig.CreateDatabase(ctx, replayedDatabase); err != nil {
		return nil, err //nolint:wrapcheck // it says what was made.
	}
	to := b.Rig.DSNOf(replayedDatabase)
	if err := b.Rig.Settle(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	meter, err := usage.Begin(b.Rig.Processes()...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	out, own, err := b.Rig.Command(ctx, "replay", "--to="+to, "--migrate", "--output=json")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was run.
	}
	var said struct {
		Took float64 `json:"took_seconds"`
	}
	if err := json.Unmarshal(out, &said); err != nil || said.Took <= 0 {
		return nil, fmt.Errorf("read what replay says: %w: %s", err, out)
	}
	used, err := meter.Since()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	s := Sample{metricRate: float64(len(steps)) / said.Took}
	used[rig.Daemon] = own // it does the daemon's work
	s.AddUsage(used, len(steps))
	n, err := b.Rig.Count(ctx, replayedDatabase+".workflow_steps")
	if err == nil && n != len(steps) {
		err = fmt.Errorf("%d rows were replayed, not %d", n, len(steps))
	}
	return s, err
}

// restoreOnce drains the steps, puts the database back to what it was before, and has it catch up.
func (b *Bench) restoreOnce(ctx context.Context, steps []Step) (Sample, error) {
	if err := b.Rig.Empty(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was emptied.
	}
	if err := b.Rig.RememberPositions(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was kept.
	}
	if err := b.fill(ctx, steps); err != nil {
		return nil, err
	}
	if _, err := b.catchUp(ctx, len(steps), func() {}); err != nil {
		return nil, err
	}
	if err := b.Rig.EmptyTables(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was emptied.
	}
	if err := b.Rig.RestorePositions(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was put back.
	}
	if err := b.Rig.Settle(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was waited for.
	}
	s, err := b.catchUp(ctx, len(steps), func() {})
	if err != nil {
		return nil, err
	}
	return s, b.complete(ctx, len(steps))
}
