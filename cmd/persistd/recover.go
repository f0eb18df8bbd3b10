package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/stream"
)

type recoverCmd struct {
	config.Flags  `embed:""`
	AcceptGap     bool   `help:"Accept the gaps that are shown: the events are lost, and replicas are ready again." group:"Recovery"`
	AcceptLostEnd bool   `help:"Accept that the log lost its end: it is read on from its last event that was committed, and what is new in it is applied." group:"Recovery"`
	TakeLog       bool   `help:"Make the log this database's, which belongs to another now." group:"Recovery"`
	DryRun        bool   `short:"n" help:"Only say what would be done." group:"Recovery"`
	Output        string `short:"o" enum:"table,json" default:"table" help:"table for people, json for machines." group:"Recovery"`
}

// Run implements the command. Without a flag it shows what log and database say of each other, and changes nothing. It exits with 0 when nobody has
// to do anything, with 1 when there is something that nobody has accepted yet, with 2 when it could not look or could not do what it was told.
func (cmd *recoverCmd) Run(parent context.Context, env config.LookupEnv, std std) error {
	left, err := cmd.run(parent, env, std)
	switch {
	case err != nil:
		return &exitError{codeNotCompared, fmt.Errorf("recover: %w", err)}
	case left > 0:
		return fmt.Errorf("recover: %s that nobody has mended or accepted", countOf(left, "finding"))
	}
	return nil
}

// run says how many findings wait for somebody at the end.
func (cmd *recoverCmd) run(parent context.Context, env config.LookupEnv, std std) (left int, err error) {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return 0, fmt.Errorf("configuration: %w", err)
	}
	ctx, _, stop := signals(parent)
	defer stop()
	nc, err := connectNATS(cfg.NATS, "persistd recover", zap.NewNop())
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return 0, fmt.Errorf("use JetStream: %w", err)
	}
	s, err := stream.Find(ctx, js, streamConfig(cfg.Stream), zap.NewNop())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, fmt.Errorf("%w: there is no log; persistd serve makes one, and what an earlier one held and had not been applied is lost", err)
	}
	if err != nil {
		return 0, err //nolint:wrapcheck // it says what was looked for.
	}
	store, err := mysqlstore.Open(storeConfig(cfg), zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return 0, fmt.Errorf("open database: %w", err)
	}
	defer store.Close()
	if err := store.CheckSchema(ctx); err != nil {
		return 0, err //nolint:wrapcheck // it says what to do.
	}
	d, err := diagnose(ctx, s, store)
	if err != nil {
		return 0, err
	}
	if err := cmd.show(std, d); err != nil {
		return 0, err
	}
	done := false
	for _, step := range []recoverStep{{cmd.TakeLog, cmd.takeLog}, {cmd.AcceptLostEnd, cmd.acceptLostEnd}, {cmd.AcceptGap, cmd.acceptGap}} {
		if step.wanted {
			if err := step.do(ctx, std, d); err != nil {
				return 0, err
			}
			done = done || !cmd.DryRun
		}
	}
	if done { // what was accepted waits for nobody
		if d, err = diagnose(ctx, s, store); err != nil {
			return 0, fmt.Errorf("it is done, and then: %w", err)
		}
	}
	return d.waiting(), nil
}

// recoverStep is what a flag asks for.
type recoverStep struct {
	wanted bool
	do     func(context.Context, std, *diagnosis) error
}

// say prints what is done, or would be; to where it does not spoil JSON.
func (cmd *recoverCmd) say(std std, format string, args ...any) {
	prefix := ""
	if cmd.DryRun {
		prefix = "would: "
	}
	out := std.out
	if cmd.Output == "json" {
		out = std.err
	}
	fmt.Fprintf(out, prefix+format+"\n", args...)
}

func (cmd *recoverCmd) takeLog(ctx context.Context, std std, d *diagnosis) error {
	if d.Owner.Database == d.Database {
		cmd.say(std, "take log: it is this database's already")
		return nil
	}
	cmd.say(std, "take log: stream %s, of database %q, becomes that of %s; replicas on the other end within seconds", d.Stream, d.Owner.Database, d.Database)
	if cmd.DryRun {
		return nil
	}
	return d.pair.stream.Marks().Take(ctx, d.Database, whoami()) //nolint:wrapcheck // it says what was done.
}

// acceptLostEnd goes past the lost end. The marks go first: with them rewound and the database as it was, the log is still refused.
func (cmd *recoverCmd) acceptLostEnd(ctx context.Context, std std, d *diagnosis) error {
	short := false
	for _, p := range d.Partitions {
		short = short || p.Short != ""
	}
	if !short {
		cmd.say(std, "accept lost end: the log has lost none")
		return nil
	}
	plan, until, err := d.lostEnd(ctx)
	if err != nil {
		return err
	}
	cmd.say(std, "accept lost end: what was logged after %s is applied as of a new log. Rows of lost events stay; what was acknowledged and lost before it was committed nobody knows", stampOf(until))
	for p := range plan.From {
		if plan.From[p].Sequence != plan.To[p].Sequence {
			cmd.say(std, "accept lost end: partition %d from %s to %s", p, describePlace(plan.From[p]), describePlace(plan.To[p]))
		}
	}
	if cmd.DryRun {
		return nil
	}
	for p, to := range plan.To {
		if err := d.pair.stream.Marks().Rewind(ctx, p, to); err != nil {
			return err //nolint:wrapcheck // it says what was marked.
		}
	}
	if d.Copy {
		err = d.pair.store.RegisterAt(ctx, d.log, plan.To)
	} else {
		_, err = d.pair.store.AcceptLostEnd(ctx, d.log, plan)
	}
	if err == nil {
		cmd.say(std, "accepted: start persistd serve")
	}
	return err //nolint:wrapcheck // it says what was done.
}

// acceptGap accepts the open gaps, all or none, and says so when it is done.
func (cmd *recoverCmd) acceptGap(ctx context.Context, std std, d *diagnosis) error {
	var open []uint64
	for i := range d.Gaps {
		if g := &d.Gaps[i]; g.AcceptedAt.IsZero() {
			open = append(open, g.ID)
		}
	}
	if len(open) == 0 {
		cmd.say(std, "accept gap: none is open")
		return nil
	}
	verb := "accept"
	if !cmd.DryRun {
		if err := d.pair.store.AcceptGaps(ctx, whoami(), open); err != nil {
			return err //nolint:wrapcheck // it says what was done.
		}
		verb = "accepted"
	}
	for i := range d.Gaps {
		if g := &d.Gaps[i]; g.AcceptedAt.IsZero() {
			cmd.say(std, "%s gap %d: %s", verb, g.ID, describeGap(g))
		}
	}
	return nil
}

// whoami is who accepts, for the record.
func whoami() string {
	name := "persistd recover"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

func (cmd *recoverCmd) show(std std, d *diagnosis) error {
	if cmd.Output == "json" {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		return out.Encode(d) //nolint:wrapcheck // standard output's own words.
	}
	whose := "nobody's yet"
	if d.Owner.Database != "" {
		whose = "of database " + d.Owner.Database
	}
	var out strings.Builder
	holds := fmt.Sprintf("sequences %d to %s", d.First, describePlace(d.Last))
	if d.First > d.Last.Sequence {
		holds = "empty; its last sequence was " + describePlace(d.Last)
	}
	fmt.Fprintf(&out, "log %s, made at %s: %s; %s\ndatabase %s\n\n", d.Stream, stampOf(d.Created), whose, holds, d.Database)
	t := newTable("partition", "owner", "position", "reached before", "trimmed through", "missing through")
	for _, p := range d.Partitions {
		missing := ""
		if p.Missing.Sequence > 0 {
			missing = describePlace(p.Missing)
		}
		t.AppendRow(table.Row{p.Partition, p.Owner, describePlace(p.Position), describePlace(p.Reached), describePlace(p.Trimmed), missing})
	}
	out.WriteString(t.Render() + "\n\n")
	if len(d.Findings) == 0 {
		out.WriteString("log and database belong together: nothing is to be done\n")
	}
	out.WriteString(d.findings())
	_, err := fmt.Fprint(std.out, out.String())
	return err //nolint:wrapcheck // standard output's own words.
}
