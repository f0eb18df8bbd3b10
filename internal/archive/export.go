package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// Selection is what is exported.
type Selection struct {
	// Runs are exported, in this order; one that is not there is an error.
	Runs []string
	// Filter exports the other runs that it finds, after those; nil is none.
	Filter *client.RunFilter
	// Checkpoints are exported by their names, after the runs. They are listed nowhere, so nobody else can name them.
	Checkpoints []string
}

// Written is what was exported.
type Written struct{ Runs, Records int }

// Export writes the selection to w. A run that is deleted meanwhile is not in it or, where a part of it is written already, an error;
// of one that is written to meanwhile it has every step that was acknowledged before, and V2 checkpoints as they are committed. st must have been opened with [Codec].
func Export(ctx context.Context, st client.Store[json.RawMessage], what Selection, w io.Writer) (Written, error) {
	buffered := bufio.NewWriterSize(w, 1<<16)
	x := &exporter{st: st, enc: json.NewEncoder(buffered)}
	x.enc.SetEscapeHTML(false)
	err := x.all(ctx, what)
	return x.written, errors.Join(err, buffered.Flush())
}

type exporter struct {
	st      client.Store[json.RawMessage]
	enc     *json.Encoder
	written Written
}

func (x *exporter) all(ctx context.Context, what Selection) error {
	if err := x.put(header{kindArchive, Format, Version, time.Now().UTC().Truncate(time.Second)}); err != nil {
		return err
	}
	named := map[string]bool{} // a run is in an archive once, however often it was asked for
	for _, id := range what.Runs {
		if named[id] {
			continue
		}
		named[id] = true
		there, err := x.run(ctx, id)
		if err == nil && !there {
			err = client.ErrNotFound
		}
		if err != nil {
			return fmt.Errorf("export run %q: %w", id, err)
		}
	}
	if what.Filter != nil {
		for r, err := range x.st.ListRuns(ctx, *what.Filter) {
			if err == nil && !named[r.RunID] {
				_, err = x.run(ctx, r.RunID) // one that is not there was deleted since
			}
			if err != nil {
				return fmt.Errorf("export run %q: %w", r.RunID, err)
			}
		}
	}
	for _, id := range what.Checkpoints {
		state, at, err := x.st.LoadCheckpoint(ctx, id)
		if err == nil {
			err = x.record(checkpoint{kindCheckpoint, id, at, state})
		}
		if err != nil {
			return fmt.Errorf("export checkpoint %q: %w", id, err)
		}
	}
	return x.put(end{kindEnd, x.written.Runs, x.written.Records})
}

// errDeleted is a run that was deleted between two pages of it: what is written of it is a part, and can not be taken back.
var errDeleted = errors.New("it was deleted while it was read: export again")

// run writes a run; there is false when there is nothing of it.
//
// A run that was deleted meanwhile is not there, whatever was seen of it before: its last step, which was, must be among the steps.
func (x *exporter) run(ctx context.Context, id string) (there bool, err error) {
	head := run{Record: kindRun, RunID: id}
	_, last, err := x.st.LoadLatest(ctx, id)
	switch {
	case err == nil:
		head.LastStep, there = &last, true
		latest, err := x.st.GetStep(ctx, id, last)
		if errors.Is(err, client.ErrNotFound) {
			return false, nil // it was deleted just now
		}
		if err != nil {
			return false, err //nolint:wrapcheck // the caller says which run.
		}
		head.Attempt = latest.Attempt
	case !errors.Is(err, client.ErrNotFound):
		return false, err //nolint:wrapcheck // the caller says which run.
	}
	begun := false
	put := func(v any) error {
		if !begun {
			begun = true
			if err := x.put(head); err != nil {
				return err
			}
			x.written.Runs++
		}
		return x.record(v)
	}
	whole := head.LastStep == nil
	for s, err := range x.st.Steps(ctx, id, math.MinInt32, 0) {
		if err == nil {
			whole = whole || s.Step == *head.LastStep
			err = put(step{kindStep, s.Step, s.NodeID, s.Attempt, s.SavedAt, s.State})
		}
		if err != nil {
			return there, err
		}
	}
	switch {
	case !whole && begun:
		return true, errDeleted
	case !whole:
		return false, nil // as above
	}
	for c, err := range x.st.ListCheckpointsV2(ctx, id) {
		if err == nil {
			err = put(checkpointV2{
				kindCheckpointV2, c.StepID, c.State, raw(c.Frontier), raw(c.RecordedIOs), c.RNGSeed, c.Timestamp, c.Label, c.IdempotencyKey,
			})
		}
		if err != nil {
			return there, err
		}
	}
	return begun, nil
}

// record writes a step or a checkpoint.
func (x *exporter) record(v any) error {
	x.written.Records++
	return x.put(v)
}

func (x *exporter) put(v any) error {
	if err := x.enc.Encode(v); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
