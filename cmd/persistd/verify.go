package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/replay"
	"github.com/persistd/persistd/internal/verify"
	"github.com/persistd/persistd/internal/wire"
)

// verifyCmd compares log and database. It exits with 0 when they agree, with 1 when something is found, with 2 when it could not look.
type verifyCmd struct {
	config.Flags `embed:""`
	Since        moment        `help:"Compare only what was logged since: a time, or how long ago, like 24h. The whole log without it."`
	Runs         []string      `name:"run" help:"Compare only this run; may be given again."`
	Sample       share         `default:"100%" help:"Compare only a part of the runs, like 1%. Rows that no event wrote are then not looked for."`
	SkipExtra    bool          `help:"Do not look through the tables for rows that no event wrote, for which each is read once."`
	Foreign      bool          `help:"Report rows that persistd did not write, too: nobody else is supposed to."`
	Replay       string        `help:"Compare what the replay of this name has applied to the database, instead of what the daemon has."`
	Pause        time.Duration `default:"1s" help:"How long to wait before what looks wrong is looked at once more."`
	Findings     int           `default:"1000" help:"How many findings to show; all are counted."`
	Output       string        `short:"o" enum:"table,json" default:"table" help:"table for people, json for machines."`
}

// codeNotCompared is the exit code of a comparison that could not be made.
const codeNotCompared = 2

// Run implements the command.
func (cmd *verifyCmd) Run(parent context.Context, env config.LookupEnv, std std) error {
	ctx, _, stop := signals(parent)
	defer stop()
	report, err := cmd.compare(ctx, env, std)
	if err != nil {
		return &exitError{codeNotCompared, fmt.Errorf("verify: %w", err)}
	}
	if cmd.Output == "json" {
		err = printJSON(std, report)
	} else {
		_, err = fmt.Fprint(std.out, report.text())
	}
	if err != nil {
		return &exitError{codeNotCompared, err}
	}
	if !report.Clean {
		return fmt.Errorf("verify: log and database differ: %s", report.kinds())
	}
	return nil
}

// verified is what a comparison found.
type verified struct {
	Clean  bool      `json:"clean"`
	Stream string    `json:"stream"`
	Since  time.Time `json:"since,omitzero"`
	// Took is in seconds.
	Took       float64           `json:"took_seconds"`
	Partitions []verifiedRange   `json:"partitions"`
	Counts     verify.Counts     `json:"counts"`
	Findings   []verifiedFinding `json:"findings"`
}

// verifiedRange is what was compared of a partition: its events after After, up to and with Until.
type verifiedRange struct {
	Partition int    `json:"partition"`
	After     uint64 `json:"after"`
	Until     uint64 `json:"until"`
}

type verifiedFinding struct {
	Kind       verify.Kind `json:"kind"`
	Table      string      `json:"table"`
	ID         string      `json:"id"`
	Step       *int32      `json:"step,omitempty"`
	Generation uint32      `json:"generation"`
	Sequence   uint64      `json:"sequence"`
	Columns    []string    `json:"columns,omitempty"`
	Detail     string      `json:"detail"`
}

func (cmd *verifyCmd) compare(ctx context.Context, env config.LookupEnv, std std) (_ *verified, err error) {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	o, err := openOffline(ctx, cfg, cfg.MySQL.DSN, "verify", std)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.close()) }()
	if err := o.store.CheckSchema(ctx); err != nil {
		return nil, err //nolint:wrapcheck // it says what was looked for.
	}
	if err := o.store.Recognise(ctx, o.logged()); err != nil {
		return nil, err //nolint:wrapcheck // it says what was looked for.
	}
	began := time.Now()
	report := &verified{Stream: o.stream.Name(), Since: cmd.Since.Time, Findings: []verifiedFinding{}}
	copied, err := o.stream.CopiedUntil(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was looked for.
	}
	database, err := o.store.Comparison(ctx, mysqlstore.Compared{Replay: cmd.Replay, CopiedUntil: copied})
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was read.
	}
	settings, err := cmd.settings(ctx, o, database, report)
	if err != nil {
		return nil, err
	}
	var total int64
	for p, w := range settings.Windows {
		if w.Until > w.After {
			n, err := o.reader.Pending(ctx, p, w.After)
			if err != nil {
				return nil, err //nolint:wrapcheck // it says what was counted.
			}
			total += n
		}
	}
	shown := showProgress(std.err, "compare", total)
	defer shown.end()
	report.Counts, err = verify.Compare(ctx, settings, verify.Deps{
		Log: comparedLog{o.reader, o.stream}, Letters: o.stream.DeadLetters(), Database: database, Seen: shown.add,
		Found: func(f verify.Finding) {
			if len(report.Findings) < cmd.Findings {
				report.Findings = append(report.Findings, findingOf(f))
			}
		},
	})
	if err == nil {
		err = stillThere(ctx, database, settings.Windows)
	}
	report.Clean, report.Took = report.Counts.Clean(), time.Since(began).Seconds()
	return report, err
}

// settings are what is compared: of each partition what the log has, up to the position.
func (cmd *verifyCmd) settings(ctx context.Context, o *offline, database *mysqlstore.Comparison, report *verified) (verify.Config, error) {
	limits, err := o.store.Limits(ctx)
	if err != nil {
		return verify.Config{}, err //nolint:wrapcheck // it says what was asked for.
	}
	c := verify.Config{
		Windows: make([]verify.Window, o.stream.Partitions()), Namespace: wire.DefaultNamespace, Runs: cmd.Runs, Sample: float64(cmd.Sample),
		SkipExtra: cmd.SkipExtra, Foreign: cmd.Foreign, Numbers: wire.AnySpelling, Pause: cmd.Pause,
		KeysKept: o.cfg.Retention.IdempotencyKeys, EventsKept: o.cfg.Retention.EmittedEvents,
	}
	if cmd.Pause == 0 {
		c.Pause = -1
	}
	if limits.Engine == "mariadb" { // it keeps the text
		c.Numbers = wire.ExactSpelling
	}
	if cmd.Replay != "" {
		return c, cmd.ofReplay(ctx, o, &c, report)
	}
	positions, err := database.Positions(ctx)
	if err != nil {
		return c, err //nolint:wrapcheck // it says what was read.
	}
	for p, position := range positions {
		after, found, err := o.start(ctx, p, cmd.Since.Time)
		if err != nil {
			return c, err
		}
		if found {
			report.add(&c, p, after, position)
		}
	}
	return c, nil
}

// ofReplay sets what is compared to what a replay has applied.
func (cmd *verifyCmd) ofReplay(ctx context.Context, o *offline, c *verify.Config, report *verified) error {
	r, err := o.store.Replay(cmd.Replay, replay.Rules{})
	if err != nil {
		return err //nolint:wrapcheck // it says what.
	}
	parts, _, err := r.Parts(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	if len(parts) == 0 {
		return fmt.Errorf("there is no replay %q of this log in this database", cmd.Replay)
	}
	for _, p := range parts {
		after, found, err := o.start(ctx, p.Partition, cmd.Since.Time)
		if err != nil {
			return err
		}
		if found && p.Partition < len(c.Windows) {
			report.add(c, p.Partition, max(after, p.After), p.Position)
		}
	}
	return nil
}

// add adds a partition's window.
func (r *verified) add(c *verify.Config, p int, after, until uint64) {
	if after < until {
		c.Windows[p] = verify.Window{After: after, Until: until}
		r.Partitions = append(r.Partitions, verifiedRange{p, after, until})
	}
}

// stillThere is nil when no partition went back meanwhile: a database that was restored in between lacks what was committed when the
// comparison began.
func stillThere(ctx context.Context, database *mysqlstore.Comparison, windows []verify.Window) error {
	positions, err := database.Positions(ctx)
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	for p, w := range windows {
		if positions[p] < w.Until {
			return fmt.Errorf("partition %d went back from %d to %d meanwhile: the database was restored; look again when persistd has applied the log anew", p, w.Until, positions[p])
		}
	}
	return nil
}

func findingOf(f verify.Finding) verifiedFinding {
	out := verifiedFinding{
		Kind: f.Kind, Table: f.Key.Table.String(), ID: f.Key.ID, Generation: f.Place.Generation, Sequence: f.Place.Sequence,
		Columns: f.Columns, Detail: f.Detail,
	}
	if f.Key.Table == verify.Steps || f.Key.Table == verify.CheckpointsV2 {
		out.Step = &f.Key.Step
	}
	return out
}

// kinds counts the findings by kind.
func (r *verified) kinds() string {
	var parts []string
	for _, k := range []verify.Kind{verify.Missing, verify.Different, verify.Stale, verify.Extra, verify.Letter} {
		if n := r.Counts.Findings[k]; n > 0 {
			name := string(k)
			if k == verify.Letter {
				name = "without a dead letter"
			}
			parts = append(parts, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(parts, ", ")
}

// text is the report for people.
func (r *verified) text() string {
	var b strings.Builder
	if len(r.Findings) > 0 {
		t := newTable("finding", "table", "id", "step", "sequence", "what")
		for _, f := range r.Findings {
			var step any = "–"
			if f.Step != nil {
				step = *f.Step
			}
			what := f.Detail
			if len(f.Columns) > 0 {
				what += ": " + strings.Join(f.Columns, ", ")
			}
			t.AppendRow(table.Row{string(f.Kind), f.Table, f.ID, step, f.Sequence, what})
		}
		b.WriteString(t.Render() + "\n")
		var total int64
		for _, n := range r.Counts.Findings {
			total += n
		}
		if more := total - int64(len(r.Findings)); more > 0 {
			fmt.Fprintf(&b, "and %d more\n", more)
		}
		b.WriteString("\n")
	}
	c := &r.Counts
	t := newTable("compared", "")
	for _, line := range []struct {
		what string
		n    int64
	}{
		{"events of the log", c.Events},
		{"rows as their event says", c.Rows},
		{"rows with a later write", c.Superseded},
		{"events of runs deleted since", c.Deleted},
		{"duplicates of an idempotency key", c.Duplicates},
		{"dead letters", c.Letters},
		{"events that keys no longer tell of", c.Untold},
		{"rows looked through", c.Scanned},
		{"rows that persistd did not write", c.Foreign},
	} {
		t.AppendRow(table.Row{line.what, humanize.Comma(line.n)})
	}
	b.WriteString(t.Render() + "\n\n")
	took := time.Duration(r.Took * float64(time.Second)).Round(10 * time.Millisecond)
	if r.Clean {
		fmt.Fprintf(&b, "log and database agree (%s)\n", took)
	} else {
		fmt.Fprintf(&b, "log and database differ: %s (%s)\n", r.kinds(), took)
	}
	return b.String()
}
