package main

import (
	"context"
	"fmt"
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
		if err := confirm(std, fmt.Sprintf("drop %s with their events", countOf(len(chosen), "dead letter"))); err != nil {
			return err
		}
	}
	for i, x := range chosen {
		if err := f.Drop(ctx, x); err != nil {
			return fmt.Errorf("dropped %d of %d dead letters: %w", i, len(chosen), err)
		}
	}
	_, err = fmt.Fprintf(std.out, "dropped %s\n", countOf(len(chosen), "dead letter"))
	return err //nolint:wrapcheck // standard output's own words.
}
