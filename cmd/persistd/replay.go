package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/ingest"
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
	case cmd.Rate < 0:
		return cfg, errors.New("replay: --rate must not be negative")
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

// refusedEvent is an event that was not applied.
type refusedEvent struct {
	Sequence uint64 `json:"sequence"`
	Subject  string `json:"subject"`
	Code     string `json:"code"`
	Reason   string `json:"reason"`
}

// replayed is what a replay did, or would do.
type replayed struct {
	Name    string `json:"name"`
	DryRun  bool   `json:"dry_run"`
	Resumed bool   `json:"resumed"`
	// Took is in seconds.
	Took    float64        `json:"took_seconds"`
	Parts   []replayedPart `json:"partitions"`
	Counts  replay.Counts  `json:"counts"`
	Refused []refusedEvent `json:"refused"`
}

type replayedPart struct {
	Partition int    `json:"partition"`
	After     uint64 `json:"after"`
	Until     uint64 `json:"until"`
	From      uint64 `json:"from"` // where this command began
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
	if err := store.CheckSchema(ctx); err != nil {
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

// parts are the parts of the log that were asked for, from their beginnings.
func (r *replaying) parts(ctx context.Context) (parts []replay.Part, err error) {
	since := r.cmd.Since.Time
	if r.applied {
		again, err := r.o.store.LastRegistered(ctx)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what was read.
		}
		if again.After(since) {
			since = again
			fmt.Fprintf(r.std.err, "replay: begins with what was logged since %s, when the log was registered again: of what is older it is not known which numbers it has here\n",
				again.Format(time.RFC3339))
		}
	}
	info, err := r.o.stream.Info(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was asked for.
	}
	for _, p := range r.cmd.Partitions {
		if p < 0 || p >= r.o.stream.Partitions() {
			return nil, fmt.Errorf("partition %d: the log has %d, from 0 on", p, r.o.stream.Partitions())
		}
	}
	for p := range r.o.stream.Partitions() {
		if !r.wants(p) {
			continue
		}
		until := info.Last
		if r.applied {
			until = r.positions[p]
		}
		after, found, err := r.begin(ctx, p, since)
		if err != nil {
			return nil, err
		}
		if found && after < until {
			parts = append(parts, replay.Part{Partition: p, After: after, Until: until, Position: after})
		}
	}
	return parts, nil
}

// begin is where the events of a partition begin that were asked for.
func (r *replaying) begin(ctx context.Context, p int, since time.Time) (after uint64, found bool, err error) {
	after, found, err = r.o.start(ctx, p, since)
	if err != nil || !found || r.cmd.FromSeq == 0 {
		return after, found, err
	}
	from, found, err := r.o.stream.After(ctx, p, r.cmd.FromSeq)
	return max(after, from), found, err //nolint:wrapcheck // it says what was looked for.
}

// wants reports whether partition p was asked for.
func (r *replaying) wants(p int) bool {
	if len(r.cmd.Partitions) > 0 && !slices.Contains(r.cmd.Partitions, p) {
		return false
	}
	return len(r.cmd.Runs) == 0 || slices.ContainsFunc(r.cmd.Runs, func(run string) bool {
		return wire.Partition(wire.DefaultNamespace, run, r.o.stream.Partitions()) == p
	})
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

// text is the report for people.
func (r *replayed) text() string {
	c := &r.Counts
	head := "replayed"
	if r.DryRun {
		head = "would be replayed"
	}
	t := newTable(head, "")
	add := func(what string, n int64, always bool) {
		if n > 0 || always {
			t.AppendRow(table.Row{what, humanize.Comma(n)})
		}
	}
	add("partitions", int64(len(r.Parts)), true)
	add("events", c.Events, true)
	add("runs", c.Runs, true)
	for _, op := range []wire.OpType{wire.OpStep, wire.OpCheckpoint, wire.OpCheckpointV2, wire.OpOutbox, wire.OpDeleteRun, wire.OpAttempt} {
		add("ops: "+op.String(), c.Ops[op.String()], false)
	}
	add("in the database now", c.Applied, !r.DryRun)
	add("said what was said before under their key", c.Same, false)
	add("duplicates of an idempotency key", c.Duplicates, false)
	add("of runs deleted since", c.Deleted, false)
	add("left out, as their keys are not there any more", c.Untold, false)
	add("refused", c.Refused, false)
	add("dead letters, passed over", c.Letters, false)
	add("of other runs, passed over", c.PassedOver, false)
	add("partitions that end within a transaction", c.Unfinished, false)
	var b strings.Builder
	b.WriteString(t.Render() + "\n")
	for _, f := range r.Refused {
		fmt.Fprintf(&b, "refused: event %d of %s: %s (%s)\n", f.Sequence, f.Subject, f.Reason, f.Code)
	}
	fmt.Fprintf(&b, "\nreplay %s took %s\n", r.Name, time.Duration(r.Took*float64(time.Second)).Round(10*time.Millisecond))
	return b.String()
}
