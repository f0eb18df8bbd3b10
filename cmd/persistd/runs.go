package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/pkg/client"
)

// runsCmd is what can be done with runs, by way of the log and persistd's answers like any worker.
type runsCmd struct {
	Ls     runsListCmd   `cmd:"" help:"List runs: their last step, and when it was saved."`
	Show   runsShowCmd   `cmd:"" help:"Show the steps of a run."`
	Copy   runsCopyCmd   `cmd:"" help:"Copy a run's steps and checkpoints, up to a step, to a new run. Encrypted states are bound to their run: copy those with the client that has the keys."`
	Delete runsDeleteCmd `cmd:"" help:"Delete runs: one by its id, or all that were last saved long ago."`
}

// natsFlags say where NATS is, and under which subjects persistd, to commands that need to know nothing else.
type natsFlags struct {
	config.FileFlag `embed:""`
	NATS            config.NATS `embed:"" prefix:"nats-" group:"NATS"`
	Prefix          string      `name:"stream-prefix" default:"persistd" help:"First token of every subject."`
}

// runsFlags say where persistd is.
type runsFlags struct {
	natsFlags `embed:""`
}

// open opens the store; close hangs up.
func (f *runsFlags) open(ctx context.Context, more ...client.Option) (st client.Store[json.RawMessage], closeAll func() error, err error) {
	nc, err := connectNATS(f.NATS, "persistd runs", zap.NewNop())
	if err != nil {
		return nil, nil, err
	}
	st, err = client.Open[json.RawMessage](ctx, "", append([]client.Option{client.WithConn(nc), client.WithPrefix(f.Prefix), client.WithMaxDepth(100)}, more...)...)
	if err != nil {
		nc.Close()
		return nil, nil, err //nolint:wrapcheck // it says what.
	}
	return st, func() error { defer nc.Close(); return st.Close() }, nil
}

type runsListCmd struct {
	runsFlags `embed:""`
	Match     string `name:"prefix" help:"Only runs whose ids begin with this."`
	Since     moment `help:"Only runs last saved since: a time, or how long ago, like 24h."`
	Limit     int    `default:"100" help:"How many at most. Zero is no limit."`
	Output    string `short:"o" enum:"table,json" default:"table" help:"table for people, json (a line each) for machines."`
}

// Run implements the command.
func (cmd *runsListCmd) Run(ctx context.Context, std std) (err error) {
	st, closeAll, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	filter := client.RunFilter{Prefix: cmd.Match, Limit: cmd.Limit}
	if !cmd.Since.IsZero() {
		filter.UpdatedSince = cmd.Since.Time
	}
	t := newTable("run", "attempt", "last step", "node", "saved")
	for run, err := range st.ListRuns(ctx, filter) {
		if err != nil {
			return err
		}
		if cmd.Output == "json" {
			if err := printJSON(std, runLine{run.RunID, run.Attempt, run.LastStep, run.NodeID, run.UpdatedAt}); err != nil {
				return err
			}
			continue
		}
		t.AppendRow(table.Row{run.RunID, dash(run.Attempt), run.LastStep, run.NodeID, humanize.Time(run.UpdatedAt)})
	}
	if cmd.Output == "json" {
		return nil
	}
	_, err = fmt.Fprintln(std.out, t.Render())
	return err //nolint:wrapcheck // standard output's own words.
}

// runLine is a run as JSON.
type runLine struct {
	RunID     string    `json:"run_id"`
	Attempt   int       `json:"attempt,omitempty"`
	LastStep  int       `json:"last_step"`
	NodeID    string    `json:"node_id"`
	UpdatedAt time.Time `json:"updated_at"`
}

// stepLine is a step as JSON.
type stepLine struct {
	Step    int             `json:"step"`
	NodeID  string          `json:"node_id"`
	Attempt int             `json:"attempt,omitempty"`
	SavedAt time.Time       `json:"saved_at"`
	State   json.RawMessage `json:"state"`
}

type runsShowCmd struct {
	runsFlags `embed:""`
	ID        string `arg:"" name:"run" help:"The run."`
	From      int    `help:"The first step."`
	Limit     int    `default:"0" help:"How many steps at most. Zero is no limit."`
	Watch     bool   `short:"w" help:"Go on showing steps as they are saved, until interrupted."`
	Output    string `short:"o" enum:"table,json" default:"table" help:"table for people, json (a line each, with the states) for machines."`
}

// Run implements the command.
func (cmd *runsShowCmd) Run(parent context.Context, std std) (err error) {
	ctx, _, stop := signals(parent)
	defer stop()
	st, closeAll, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	steps, watch := st.Steps(ctx, cmd.ID, cmd.From, cmd.Limit), cmd.Watch
	if watch {
		steps = st.WatchRun(ctx, cmd.ID, cmd.From)
	}
	t, n := newTable("step", "node", "attempt", "saved", "state"), 0
	for s, err := range steps {
		if err != nil {
			return err
		}
		n++
		switch {
		case cmd.Output == "json":
			err = printJSON(std, stepLine{s.Step, s.NodeID, s.Attempt, s.SavedAt, s.State})
		case watch:
			_, err = fmt.Fprintf(std.out, "%d\t%s\t%s\t%s\n", s.Step, s.NodeID, s.SavedAt.Format(time.RFC3339Nano), humanize.IBytes(uint64(len(s.State))))
		default:
			t.AppendRow(table.Row{s.Step, s.NodeID, dash(s.Attempt), s.SavedAt.Format(time.RFC3339Nano), humanize.IBytes(uint64(len(s.State)))})
		}
		if err != nil {
			return err //nolint:wrapcheck // standard output's own words.
		}
	}
	if n == 0 && !watch {
		return fmt.Errorf("show run %q: %w", cmd.ID, client.ErrNotFound)
	}
	if cmd.Output == "json" || watch {
		return nil
	}
	_, err = fmt.Fprintln(std.out, t.Render())
	return err //nolint:wrapcheck // standard output's own words.
}

type runsCopyCmd struct {
	runsFlags `embed:""`
	ID        string `arg:"" name:"run" help:"The run to copy."`
	New       string `arg:"" name:"new-run" help:"The run to make."`
	Upto      int    `default:"2147483647" help:"The last step to copy."`
}

// Run implements the command.
func (cmd *runsCopyCmd) Run(ctx context.Context, std std) (err error) {
	st, closeAll, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	if err := st.CopyRun(ctx, cmd.ID, cmd.Upto, cmd.New); err != nil {
		return err //nolint:wrapcheck // it says what.
	}
	_, err = fmt.Fprintf(std.out, "copied %s to %s\n", cmd.ID, cmd.New)
	return err //nolint:wrapcheck // standard output's own words.
}

func newTable(head ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(head)
	columns := make([]table.ColumnConfig, len(head))
	for i := range columns {
		columns[i] = table.ColumnConfig{Number: i + 1, Transformer: func(cell any) string { return visible(fmt.Sprint(cell)) }}
	}
	t.SetColumnConfigs(columns)
	return t
}

// visible is s with what moves a cursor or changes colours written out: ids and names are whatever a publisher chose.
func visible(s string) string {
	var out strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\n' {
			out.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return out.String()
}

// dash shows what there is none of.
func dash(n int) any {
	if n == 0 {
		return "–"
	}
	return n
}

func printJSON(std std, v any) error {
	enc := json.NewEncoder(std.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v) //nolint:wrapcheck // standard output's own words.
}
