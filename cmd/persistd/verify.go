package main

import (
	"context"
	"errors"
	"fmt"
	"time"

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
