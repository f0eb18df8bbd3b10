package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/persistd/persistd/internal/bench"
	"github.com/persistd/persistd/internal/devstack"
)

type benchCmd struct {
	Scenarios   []string `arg:"" optional:"" name:"scenario" help:"What to measure; all there is without it. --list shows them."`
	Rounds      int      `default:"5" help:"How often each side is measured. Below 5, medians say little, and --assert judges none."`
	Size        string   `default:"1KiB" help:"Sizes of made-up states, comma separated: 256,1KiB,8KiB,32KiB. Targets are of 1KiB. The scenarios memory, mixed and grown have sizes of their own."`
	Steps       string   `type:"existingfile" help:"File of real steps to measure with beside those: one {\"run_id\",\"step\",\"node_id\",\"state\"} a line, gzip or plain. The scenarios memory, mixed and grown do without."`
	Sync        string   `enum:"interval,always,both" default:"both" help:"When the nats-server syncs its disk: every two minutes, or before each acknowledgement. Both measures twice where it matters, with always only the first size, and with interval elsewhere."`
	Engine      string   `enum:"mariadb,mysql" default:"mariadb" help:"Database server to run."`
	Connections int      `default:"4" help:"Commits that the daemon has in flight, and connections of the raw insert beside it; at most 8, one for each partition."`
	Workers     int      `default:"64" help:"Workers of the scenarios save, fleet and checkpoint, where there are many; 2 to 256. Their targets are of 64."`
	GrownRows   int      `default:"10000000" help:"Rows of the large table of the scenario grown."`
	Short       bool     `help:"Make everything tiny, with one round: shows that it works, says nothing of speed, and judges no target."`
	Output      string   `short:"o" enum:"table,json,markdown" default:"table" help:"table for people, json for machines, markdown for a document with the machine and the versions."`
	Assert      bool     `help:"Exit with 1 when a target is missed, or when none of the targets was measured. Those that were not are named."`
	List        bool     `help:"Show the scenarios and the targets, and measure nothing."`
	Dir         string   `type:"existingdir" help:"Folder in which the servers' data is made, and removed: on the disk that is to be measured. The system's for temporary files without it."`
}

// maxWorkers leaves the database, which takes 500 connections, some beside one for each worker.
const maxWorkers = 256

// codeInterrupted is the exit code of a run that was told to stop, as a shell has it: what it found is not all.
const codeInterrupted = 130

// Help is what --help says beside the flags.
func (benchCmd) Help() string {
	return `Everything that is measured is started for it: a nats-server, a database and a daemon, with data that is removed at the end. There is
no way to point it at servers that are there already, since it empties tables and fills disks. Client, servers and daemon share this machine, so
absolute figures are of this machine; what counts are the ratios, of things measured alternately. Nothing else should run meanwhile.`
}

// Run implements the command.
func (cmd *benchCmd) Run(ctx context.Context, std std) error {
	scenarios, err := bench.Find(cmd.Scenarios)
	if err != nil {
		return &exitError{codeUsage, err}
	}
	if cmd.List {
		return listBench(std.out, scenarios)
	}
	options, err := cmd.options()
	if err != nil {
		return &exitError{codeUsage, fmt.Errorf("bench: %w", err)}
	}
	first, _, stop := signals(ctx)
	defer stop()
	options.Watch = &benchWatcher{out: std.err}
	found, err := bench.Run(first, options, scenarios)
	if len(found.Results) > 0 || err == nil {
		if printErr := cmd.print(std.out, found); printErr != nil {
			return errors.Join(err, printErr)
		}
	}
	switch {
	case err != nil && first.Err() != nil:
		return &exitError{codeInterrupted, errors.New("bench: interrupted; everything that it started is stopped, and what was measured by then is told")}
	case err != nil:
		return fmt.Errorf("bench: %w", err)
	}
	return cmd.verdict(std.err, found)
}

// verdict is an error when targets are missed, if that was asked for. Those that were not measured are none: it names them.
func (cmd *benchCmd) verdict(out io.Writer, found bench.Report) error {
	if !cmd.Assert {
		return nil
	}
	for _, name := range bench.Unmeasured(found.Results) {
		fmt.Fprintf(out, "bench: not measured: %s\n", name)
	}
	if err := bench.Assert(found.Results); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// options checks what was asked for.
func (cmd *benchCmd) options() (bench.Options, error) {
	o := bench.Options{
		Rounds: cmd.Rounds, Steps: cmd.Steps, Engine: devstack.Engine(cmd.Engine), Connections: cmd.Connections, Workers: cmd.Workers, GrownRows: cmd.GrownRows,
		Short: cmd.Short, Dir: cmd.Dir, Version: version, Sync: []bench.Sync{bench.Sync(cmd.Sync)},
	}
	if cmd.Sync == "both" {
		o.Sync = []bench.Sync{bench.SyncInterval, bench.SyncAlways}
	}
	if cmd.Short {
		o.Rounds = 1
	}
	var err error
	o.Sizes, err = bench.ParseSizes(cmd.Size)
	switch {
	case err != nil:
		return o, fmt.Errorf("--size: %w", err)
	case cmd.Short && cmd.Assert:
		return o, errors.New("--short measures nothing that --assert could judge: give one of them")
	case cmd.Rounds < 1:
		return o, errors.New("--rounds: must be at least 1")
	case cmd.Assert && cmd.Rounds < bench.JudgedRounds:
		return o, fmt.Errorf("--assert judges medians of %[1]d rounds or more: give --rounds=%[1]d, or leave --assert out", bench.JudgedRounds)
	case cmd.Connections < 1 || cmd.Connections > 8:
		return o, errors.New("--connections: must be 1 to 8")
	case cmd.Workers < 2 || cmd.Workers > maxWorkers:
		return o, fmt.Errorf("--workers: must be 2 to %d", maxWorkers)
	case cmd.GrownRows < 1000:
		return o, errors.New("--grown-rows: must be at least 1000")
	}
	return o, nil
}

// print writes what was found, also when not all was.
func (cmd *benchCmd) print(out io.Writer, found bench.Report) error {
	write := map[string]func(io.Writer, bench.Report) error{"json": bench.WriteJSON, "table": bench.WriteTable, "markdown": bench.WriteMarkdown}[cmd.Output]
	if err := write(out, found); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

func listBench(out io.Writer, scenarios []bench.Scenario) error {
	for _, s := range scenarios {
		fmt.Fprintf(out, "%s: %s\n  %s\n", s.Name, s.Help, strings.ReplaceAll(text.WrapSoft(strings.Join(strings.Fields(s.Method), " "), 110), "\n", "\n  "))
		for _, t := range bench.Targets() {
			if t.Scenario == s.Name {
				fmt.Fprintf(out, "  target: %s\n", t)
			}
		}
		fmt.Fprintln(out)
	}
	return nil
}
