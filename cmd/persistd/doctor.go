package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/persistd/persistd/internal/config"
)

type doctorCmd struct {
	config.Flags `embed:""`
	Monitor      []string      `name:"nats-monitor" placeholder:"URL" help:"Where the NATS servers answer requests of their state, http://host:8222, of each server of a cluster; only there it is told how they sync."`
	Wait         time.Duration `default:"1s" help:"How long to listen for replicas."`
	Output       string        `short:"o" enum:"table,json" default:"table" help:"table for people, json for machines."`
}

// level is how good or bad something is.
type level string

const (
	fine    level = "ok"
	warn    level = "warn"
	failed  level = "fail"
	unknown level = "unknown"
)

// checked is one thing that was looked at.
type checked struct {
	Area  string `json:"area"`
	Check string `json:"check"`
	Level level  `json:"level"`
	Found string `json:"found"`
	// Advice says what to do about it; there is none where all is well.
	Advice string `json:"advice,omitempty"`
}

// outcome is what a failure costs in this setup.
type outcome struct {
	Failure string `json:"failure"`
	Level   level  `json:"level"`
	Costs   string `json:"costs"`
}

// report is all that the doctor has to say.
type report struct {
	Findings []checked `json:"findings"`
	Outcomes []outcome `json:"outcomes"`
}

func (r *report) add(area, check string, l level, found, advice string) {
	if l == fine {
		advice = ""
	}
	r.Findings = append(r.Findings, checked{area, check, l, found, advice})
}

// either adds that all is well, or else what is not.
func (r *report) either(ok bool, area, check string, otherwise level, found, advice string) {
	if ok {
		otherwise = fine
	}
	r.add(area, check, otherwise, found, advice)
}

// Run implements the command.
func (cmd *doctorCmd) Run(ctx context.Context, env config.LookupEnv, std std) error {
	cfg, err := cmd.Complete(env)
	if err == nil {
		err = cfg.Validate()
	}
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	r, setup := &report{}, setup{cfg: cfg, replays: cfg.Stream.ReplayWindow}
	setup.examineNATS(ctx, r, cmd.Monitor, cmd.Wait)
	setup.examineDatabase(ctx, r)
	r.Outcomes = setup.outcomes()
	if cmd.Output == "json" {
		out := json.NewEncoder(std.out)
		out.SetIndent("", "  ")
		err = out.Encode(r)
	} else {
		_, err = fmt.Fprint(std.out, r.text())
	}
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	if n := r.count(failed); n > 0 {
		return fmt.Errorf("doctor: %d of %d checks failed", n, len(r.Findings))
	}
	return nil
}

// doctorWait bounds all that is asked.
const doctorWait = time.Minute

func (r *report) count(l level) (n int) {
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// text is the report for people: what was found, what to do about it, and what follows.
func (r *report) text() string {
	const wide = 100
	t := newTable("", "what", "found")
	var advice []string
	for _, f := range r.Findings {
		t.AppendRow(table.Row{string(f.Level), f.Area + ": " + f.Check, text.WrapSoft(f.Found, wide)})
		if f.Advice != "" {
			advice = append(advice, fmt.Sprintf("  %s: %s: %s\n", f.Level, f.Check, f.Advice))
		}
	}
	out := t.Render() + "\n"
	if len(advice) > 0 {
		out += "\nWhat to do:\n\n" + strings.Join(advice, "")
	}
	t = newTable("", "when this happens", "this is what it costs, here")
	for _, o := range r.Outcomes {
		t.AppendRow(table.Row{string(o.Level), o.Failure, text.WrapSoft(o.Costs, wide)})
	}
	return out + "\n" + t.Render() + "\n\n" +
		fmt.Sprintf("%d checks: %d ok, %d warn, %d fail, %d unknown. docs/durability.md says why.\n",
			len(r.Findings), r.count(fine), r.count(warn), r.count(failed), r.count(unknown))
}
