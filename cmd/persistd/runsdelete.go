package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

type runsDeleteCmd struct {
	runsFlags `embed:""`
	ID        string        `arg:"" optional:"" name:"run" help:"The run. Without it, --older-than says which ones."`
	OlderThan time.Duration `help:"Delete the runs whose last step was saved longer ago than this."`
	Match     string        `name:"prefix" help:"Of those, only runs whose ids begin with this."`
	Yes       bool          `short:"y" help:"Do not ask: for a timer's job."`
	DryRun    bool          `short:"n" help:"Only say what would be deleted."`
}

// deleting is how many runs are deleted at a time: each waits for its commit, and they share it.
const deleting = 64

// Run implements the command. What it says is deleted is deleted; a command that ends early can be run again.
//
//	which runs?                (they are all known before the first is deleted)
//	ask, unless --yes
//	delete them                (ended here: some are deleted, and it says how many; the command goes on from there)
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

	var (
		doomed []string
		what   string
	)
	if one {
		if what, err = describeRun(ctx, st, cmd.ID); err != nil {
			return fmt.Errorf("delete run %q: %w", cmd.ID, err)
		}
		doomed = []string{cmd.ID}
	} else {
		doomed, err = cmd.old(ctx, st, std)
		if err != nil {
			return err
		}
		what = countOf(len(doomed), "run") + " last saved longer ago than " + cmd.OlderThan.String()
	}
	switch {
	case cmd.DryRun:
		return say(std, "would delete %s\n", what)
	case len(doomed) > 0 && !cmd.Yes:
		if err := confirm(std, "delete "+what); err != nil {
			return err
		}
	}
	deleted, err := deleteRuns(ctx, st, doomed)
	if err != nil {
		return fmt.Errorf("deleted %d of %s: %w", deleted, countOf(len(doomed), "run"), err)
	}
	return say(std, "deleted %s\n", what)
}

// describeRun says what there is of a run; an error that wraps [client.ErrNotFound] when there is nothing.
func describeRun(ctx context.Context, st client.Store[json.RawMessage], id string) (string, error) {
	what := "run " + visible(id)
	_, last, err := st.LoadLatest(ctx, id)
	switch {
	case err == nil:
		return fmt.Sprintf("%s, whose last step is %d", what, last), nil
	case !errors.Is(err, client.ErrNotFound):
		return "", err //nolint:wrapcheck // the caller says which run.
	}
	for _, err := range st.ListCheckpointsV2(ctx, id) {
		return what + ", which has V2 checkpoints and no steps", err //nolint:wrapcheck // as above.
	}
	return "", client.ErrNotFound
}

// deleteRuns deletes runs, and says how many it did.
func deleteRuns(ctx context.Context, st client.Store[json.RawMessage], ids []string) (deleted int64, err error) {
	var (
		all  errgroup.Group
		done atomic.Int64
	)
	all.SetLimit(deleting)
	for _, id := range ids {
		all.Go(func() error {
			err := st.DeleteRun(ctx, id)
			if err == nil {
				done.Add(1)
			}
			return err //nolint:wrapcheck // it says which.
		})
	}
	err = all.Wait()
	return done.Load(), err //nolint:wrapcheck // as above.
}

// old are the runs that were last saved long ago; a dry run says which.
func (cmd *runsDeleteCmd) old(ctx context.Context, st client.HistoryStore[json.RawMessage], std std) (ids []string, err error) {
	err = cmd.eachOld(ctx, st, func(run client.Run) error {
		ids = append(ids, run.RunID)
		if !cmd.DryRun {
			return nil
		}
		return say(std, "%s\tstep %d\t%s\n", visible(run.RunID), run.LastStep, run.UpdatedAt.Format(time.RFC3339))
	})
	return ids, err
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
