package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
)

type dlqDropCmd struct {
	dlqFlags  `embed:""`
	dlqFilter `embed:""`
	All       bool `help:"All letters there are."`
	Yes       bool `short:"y" help:"Do not ask."`
	DryRun    bool `short:"n" help:"Only say which would be removed."`
}

// Run implements the command. An event that is dropped is nowhere any more, once the log is trimmed.
func (cmd *dlqDropCmd) Run(ctx context.Context, std std) error {
	if !cmd.names() && !cmd.All {
		return fmt.Errorf("drop dead letters: %w", errWhich)
	}
	f, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer f.close()
	all, err := f.List(ctx, nil)
	if err != nil {
		return err //nolint:wrapcheck // it says what was listed.
	}
	chosen, err := cmd.choose(all)
	if err != nil {
		return err
	}
	if cmd.DryRun {
		for _, x := range chosen {
			if _, err := fmt.Fprintf(std.out, "would drop %d\t%s\t%s\n", x.Sequence, visible(idOf(x)), x.Poison.Code); err != nil {
				return err //nolint:wrapcheck // standard output's own words.
			}
		}
		return nil
	}
	if len(chosen) > 0 && !cmd.Yes {
		_, _ = fmt.Fprintf(std.err, "drop %d dead letters and the events in them? [y/N] ", len(chosen))
		answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
			return fmt.Errorf("drop %d dead letters: not confirmed, nothing was removed (--yes does not ask)", len(chosen))
		}
	}
	for i, x := range chosen {
		if err := f.Drop(ctx, x); err != nil {
			return fmt.Errorf("dropped %d of %d dead letters: %w", i, len(chosen), err)
		}
	}
	_, err = fmt.Fprintf(std.out, "dropped %d dead letters\n", len(chosen))
	return err //nolint:wrapcheck // standard output's own words.
}
