package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/ingest"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/wire"
)

// replayCmd applies a part of the log again.
type replayCmd struct {
	config.Flags `embed:""`
	FromSeq      uint64        `help:"Begin at this sequence of the log. The whole log without it, and without --since."`
	Since        moment        `help:"Begin with what was logged since: a time, or how long ago, like 24h."`
	Runs         []string      `name:"run" help:"Apply only this run; may be given again."`
	Partitions   []int         `name:"partition" help:"Apply only this partition; may be given again."`
	To           config.Secret `placeholder:"DSN" help:"Apply to this database instead of the one that persistd serve writes."`
	Migrate      bool          `help:"Bring the schema of --to up to date first, which may be an empty database."`
	Name         string        `help:"Name of the replay, by which it goes on where it was. Made of the arguments without it."`
	Restart      bool          `help:"Begin anew, even if a replay of this name has not come to its end."`
	DryRun       bool          `short:"n" help:"Only count what would be applied."`
	Rate         float64       `help:"Apply at most so many events a second. Zero is as fast as it goes."`
	Outbox       string        `enum:"emitted,pending,skip" default:"emitted" help:"What becomes of outbox events that are not in the outbox (any more): emitted inserts them as emitted, pending to be emitted (again), skip leaves them out."`
	ApplyUntold  bool          `help:"Where idempotency keys are removed for their age: apply events whose keys are not there, too, though they may have been duplicates."`
	Refused      int           `default:"20" help:"How many refused events to show; all are counted."`
	Output       string        `short:"o" enum:"table,json" default:"table" help:"table for people, json for machines."`
}

// Run implements the command.
func (cmd *replayCmd) Run(parent context.Context, env config.LookupEnv, std std) error {
	ctx, _, stop := signals(parent)
	defer stop()
	cfg, err := cmd.complete(env)
	if err != nil {
		return err
	}
	dsn := cfg.MySQL.DSN
	if cmd.To != "" {
		dsn = cmd.To
	}
	collectLess()
	o, err := openOffline(ctx, cfg, dsn, "replay", std)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	r := &replaying{cmd: cmd, o: o, std: std}
	report, err := r.run(ctx)
	err = errors.Join(err, o.close())
	switch {
	case ctx.Err() != nil && err != nil:
		return errors.New("replay: interrupted; what is applied stays so, and the same command goes on from there")
	case err != nil:
		return fmt.Errorf("replay: %w", err)
	case cmd.Output == "json":
		return printJSON(std, report)
	}
	_, err = fmt.Fprint(std.out, report.text())
	return err //nolint:wrapcheck // standard output's own words.
}

func (cmd *replayCmd) complete(env config.LookupEnv) (config.Config, error) {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	switch {
	case err != nil:
		return cfg, fmt.Errorf("configuration: %w", err)
	case cmd.FromSeq > 0 && !cmd.Since.IsZero():
		return cfg, errors.New("replay: give --from-seq or --since, not both")
	case cmd.Migrate && cmd.To == "":
		return cfg, errors.New("replay: --migrate is for --to; the daemon's database is migrated by persistd migrate")
	case !(cmd.Rate >= 0): // not a number is no rate either
		return cfg, errors.New("replay: --rate must be zero or above")
	}
	return cfg, nil
}

// asked is what the replay is started with, as far as it decides what is applied.
func (cmd *replayCmd) asked() string {
	runs, partitions := slices.Clone(cmd.Runs), slices.Clone(cmd.Partitions)
	slices.Sort(runs)
	slices.Sort(partitions)
	text, err := json.Marshal(struct {
		FromSeq    uint64   `json:"from_seq,omitempty"`
		Since      string   `json:"since,omitempty"`
		Runs       []string `json:"runs,omitempty"`
		Partitions []int    `json:"partitions,omitempty"`
		Outbox     string   `json:"outbox"`
	}{cmd.FromSeq, cmd.Since.text, runs, partitions, cmd.Outbox})
	if err != nil {
		panic(fmt.Sprintf("assertion: encode arguments: %v", err))
	}
	return string(text)
}

// replaying is a replay on its way.
type replaying struct {
	cmd *replayCmd
	o   *offline
	std std
	// applied says that a daemon applies the log to this database: what is beyond its positions is the daemon's.
	applied   bool
	positions map[int]uint64
}

func (r *replaying) run(ctx context.Context) (*replayed, error) {
	cmd := r.cmd
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	parts, err := r.parts(ctx)
	if err != nil {
		return nil, err
	}
	report := &replayed{Name: cmd.name(), DryRun: cmd.DryRun, Refused: []refusedEvent{}}
	deps := replay.Deps{
		Log: replayedLog{r.o.reader}, Metrics: batcher.NewMetrics(prometheus.NewRegistry()), Logger: r.o.log,
		Refused: func(ev *wire.Event) {
			if len(report.Refused) < cmd.Refused {
				report.Refused = append(report.Refused, refusedEvent{ev.Message.Sequence, ev.Message.Subject, ev.Poison.Code, ev.Poison.Reason})
			}
		},
	}
	if deps.Letters, err = r.o.stream.DeadLetters().Lettered(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was listed.
	}
	settings := replay.Config{Parts: parts, Runs: cmd.Runs, DryRun: cmd.DryRun, Rate: cmd.Rate}
	if !cmd.DryRun {
		if settings.Parts, report.Resumed, err = r.target(ctx, &deps, parts); err != nil {
			return nil, err
		}
		limits, err := r.o.store.Limits(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what was asked for.
		}
		settings.Batch = batchConfig(r.o.cfg, limits)
		if cmd.To != "" { // nobody else writes there
			settings.Parallel = r.o.cfg.MySQL.Writers
		}
	}
	for _, p := range settings.Parts {
		report.Parts = append(report.Parts, replayedPart{p.Partition, p.After, p.Until, p.Position})
	}
	total, err := r.total(ctx, settings.Parts)
	if err != nil {
		return nil, err
	}
	shown := showProgress(r.std.err, "replay", total)
	defer shown.end()
	deps.Seen = shown.add
	began := time.Now()
	report.Counts, err = replay.Run(ctx, settings, deps)
	report.Took = time.Since(began).Seconds()
	return report, err
}

// prepare makes the database ready, and learns how far the daemon is in it.
func (r *replaying) prepare(ctx context.Context) error {
	store, other := r.o.store, r.cmd.To != ""
	if r.cmd.DryRun && other {
		return nil // the log alone tells
	}
	if r.cmd.Migrate {
		if err := store.Migrate(ctx); err != nil {
			return err //nolint:wrapcheck // it says what was done.
		}
	}
	err := store.CheckSchema(ctx)
	switch {
	case errors.Is(err, mysqlstore.ErrSchemaPending) && other:
		return hinted(err, "or give --migrate")
	case err != nil:
		return err //nolint:wrapcheck // it says what was looked for.
	}
	know := store.Recognise
	if other {
		know = store.Introduce
	}
	if err := know(ctx, r.o.logged()); err != nil {
		return err
	}
	rows, err := store.Positions(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	r.applied, r.positions = !other, map[int]uint64{}
	for _, row := range rows {
		r.positions[row.Partition] = row.Position
		r.applied = r.applied || row.Position > 0
	}
	return nil
}

// name is the replay's name.
func (cmd *replayCmd) name() string {
	if cmd.Name != "" {
		return cmd.Name
	}
	sum := sha256.Sum256([]byte(cmd.asked()))
	return hex.EncodeToString(sum[:6])
}

// target is where to apply, and what is left to apply there: of a replay that was ended in the middle, what it did not get to.
func (r *replaying) target(ctx context.Context, deps *replay.Deps, parts []replay.Part) (left []replay.Part, resumed bool, err error) {
	cmd := r.cmd
	t, err := r.o.store.Replay(cmd.name(), replay.Rules{
		Outbox: replay.Outbox(cmd.Outbox), KeepUntold: r.applied && r.o.cfg.Retention.IdempotencyKeys > 0 && !cmd.ApplyUntold,
	})
	if err != nil {
		return nil, false, err //nolint:wrapcheck // it says what.
	}
	deps.Target = t
	before, asked, err := t.Parts(ctx)
	if err != nil {
		return nil, false, err //nolint:wrapcheck // it says what was read.
	}
	ended := !slices.ContainsFunc(before, func(p replay.Part) bool { return !p.Done() })
	switch {
	case cmd.Restart || ended:
		return parts, false, t.Begin(ctx, parts, cmd.asked())
	case asked != cmd.asked():
		return nil, false, fmt.Errorf("replay %q has not come to its end and was started with %s: give those arguments to go on with it, or --restart, or another --name", cmd.name(), asked)
	}
	fmt.Fprintf(r.std.err, "replay: goes on with %q where it was; --restart begins anew\n", cmd.name())
	return before, true, nil
}

// total is about how many messages there are to read.
func (r *replaying) total(ctx context.Context, parts []replay.Part) (total int64, err error) {
	for _, p := range parts {
		behind, err := r.o.reader.Pending(ctx, p.Partition, p.Position)
		if err != nil {
			return 0, err //nolint:wrapcheck // it says what was counted.
		}
		beyond, err := r.o.reader.Pending(ctx, p.Partition, max(p.Position, p.Until))
		if err != nil {
			return 0, err //nolint:wrapcheck // it says what was counted.
		}
		total += max(0, behind-beyond)
	}
	return total, nil
}

// replayedLog is the log as a replay sees it.
type replayedLog struct{ *ingest.Reader }

func (l replayedLog) Range(ctx context.Context, partition int, after, until uint64, deliver func(context.Context, wire.Event) error) error {
	err := l.Reader.Range(ctx, partition, after, until, deliver)
	if errors.Is(err, ingest.ErrUnfinished) {
		return fmt.Errorf("%w: %w", replay.ErrUnfinished, err)
	}
	return err //nolint:wrapcheck // it says what was read.
}
