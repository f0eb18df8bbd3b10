package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

type runsDeleteCmd struct {
	runsFlags `embed:""`
	ID        string        `arg:"" optional:"" name:"run" help:"The run. Without it, --older-than says which ones."`
	OlderThan time.Duration `help:"Delete the runs whose last step was saved longer ago than this."`
	Match     string        `name:"prefix" help:"Of those, only runs whose ids begin with this."`
	DryRun    bool          `short:"n" help:"Only say what would be deleted."`
}

// deleting is how many runs are deleted at a time: each waits for its commit, and they share it.
const deleting = 64

// Run implements the command. What it says is deleted is deleted; a command that ends early can be run again.
func (cmd *runsDeleteCmd) Run(parent context.Context, std std) (err error) {
	one := cmd.ID != ""
	switch {
	case one && (cmd.OlderThan != 0 || cmd.Match != ""):
		return errors.New("delete runs: give either one run or --older-than, not both")
	case !one && cmd.OlderThan <= 0:
		return errors.New("delete runs: give a run, or --older-than, e.g. --older-than=720h")
	}
	ctx, _, stop := signals(parent)
	defer stop()
	st, closeAll, err := cmd.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()

	var all errgroup.Group
	all.SetLimit(deleting)
	n, word := 0, "deleted"
	if cmd.DryRun {
		word = "would delete"
	}
	remove := func(id string) {
		n++
		if !cmd.DryRun {
			all.Go(func() error { return st.DeleteRun(ctx, id) })
		}
	}
	if one {
		remove(cmd.ID)
	} else {
		err = cmd.eachOld(ctx, st, func(run client.Run) error {
			remove(run.RunID)
			if cmd.DryRun {
				_, err := fmt.Fprintf(std.out, "%s\tstep %d\t%s\n", visible(run.RunID), run.LastStep, run.UpdatedAt.Format(time.RFC3339))
				return err //nolint:wrapcheck // standard output's own words.
			}
			return nil
		})
	}
	if err := errors.Join(err, all.Wait()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s %d runs\n", word, n)
	return err //nolint:wrapcheck // standard output's own words.
}

func (cmd *runsDeleteCmd) eachOld(ctx context.Context, st client.HistoryStore[json.RawMessage], old func(client.Run) error) error {
	before := time.Now().Add(-cmd.OlderThan)
	for run, err := range st.ListRuns(ctx, client.RunFilter{Prefix: cmd.Match}) {
		if err != nil {
			return err
		}
		if run.UpdatedAt.Before(before) {
			if err := old(run); err != nil {
				return err
			}
		}
	}
	return nil
}
