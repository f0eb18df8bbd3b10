package main

import (
	"context"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/demo"
	"github.com/persistd/persistd/internal/devstack"
)

type demoCmd struct {
	Workers int           `default:"50" help:"Workers that save runs concurrently, each with a connection of its own."`
	For     time.Duration `default:"20s" help:"How long they do."`
	Think   time.Duration `default:"100ms" help:"Longest pause of a worker between two steps."`
	Steps   string        `type:"existingfile" help:"File of steps to replay instead of made-up ones: one {\"run_id\",\"step\",\"node_id\",\"state\"} a line, gzip or plain."`
	Seed    uint64        `default:"1" help:"Makes the workers' choices reproducible."`
	Engine  string        `enum:"mariadb,mysql" default:"mariadb" help:"Database server to run."`
}

// Run implements the command.
func (cmd *demoCmd) Run(ctx context.Context, std std) error {
	first, _, stop := signals(ctx)
	defer stop()
	c := demo.Config{
		Workers: cmd.Workers, For: cmd.For, Think: cmd.Think, Seed: cmd.Seed, Engine: devstack.Engine(cmd.Engine), Out: std.out,
	}
	if cmd.Steps != "" {
		runs, err := demo.Recorded(cmd.Steps)
		if err != nil {
			return fmt.Errorf("read --steps: %w", err)
		}
		c.Runs = runs
	}
	if err := demo.Run(first, c); err != nil {
		return err //nolint:wrapcheck // it says what went wrong.
	}
	_, err := fmt.Fprintln(std.out, "nothing is lost, doubled or altered")
	return err //nolint:wrapcheck // standard output's own words.
}
