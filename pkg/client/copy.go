package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/persistd/persistd/internal/wire"
)

func (s *store[S]) CopyRun(ctx context.Context, runID string, uptoStep int, newRunID string) error {
	if err := s.copyRun(ctx, runID, uptoStep, newRunID); err != nil {
		return newError(opCopy, runID, 0, fmt.Errorf("to run %.300q: %w", newRunID, err))
	}
	return nil
}

// copyRun carries the states through the log: what is copied is then what it was when the copy was made, also in a replay.
func (s *store[S]) copyRun(ctx context.Context, runID string, uptoStep int, newRunID string) error {
	var last wire.Op
	if err := cmp.Or(checkRun(runID), checkRun(newRunID), setStep(&last, uptoStep)); err != nil {
		return err
	}
	if err := s.absent(ctx, newRunID); err != nil {
		return err
	}
	c := copying[S]{from: s, runID: runID, newRunID: newRunID, to: builder[json.RawMessage]{codec: s.codec, maxDepth: s.maxDepth}}
	if err := c.steps(ctx, last.Step); err != nil {
		return err
	}
	if err := c.checkpoints(ctx, last.Step); err != nil {
		return err
	}
	if len(c.to.ops) == 0 {
		return ErrNotFound
	}
	w, err := c.to.write()
	if err != nil {
		return err
	}
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err != nil {
		return err
	}
	w.durability = Committed
	if w.attempt, err = s.attemptOf(ctx, w); err != nil {
		return err
	}
	return s.backend.apply(ctx, w)
}

// absent is nil when there is nothing of a run.
func (s *store[S]) absent(ctx context.Context, runID string) error {
	for _, err := range s.stepRecords(ctx, runID, math.MinInt32, 1) {
		return cmp.Or(err, ErrExists)
	}
	for _, err := range s.recordsV2(ctx, runID) {
		return cmp.Or(err, ErrExists)
	}
	return nil
}

// copying is a run on its way to another one. States are not decoded further than the codec makes them: numbers stay as they are written.
type copying[S any] struct {
	from            *store[S]
	runID, newRunID string
	to              builder[json.RawMessage]
}

// steps copies those up to and with a step, and of a run with attempts none beyond what LoadLatest answers: those are of an older attempt,
// and would be taken for the newest of a run without.
func (c *copying[S]) steps(ctx context.Context, last int32) error {
	latest, err := c.latest(ctx)
	if err != nil || latest == nil {
		return err
	}
	for r, err := range c.from.stepRecords(ctx, c.runID, math.MinInt32, 0) {
		if err != nil {
			return err
		}
		if r.Step > min(last, latest.Step) {
			break
		}
		state, err := decode[json.RawMessage](c.from.codec, Binding{KindStep, c.runID, int(r.Step)}, r.State)
		if err == nil {
			err = c.to.SaveStep(c.newRunID, int(r.Step), r.NodeID, state)
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", r.Step, err)
		}
	}
	return nil
}

func (c *copying[S]) latest(ctx context.Context) (*wire.StepRecord, error) {
	ctx, cancel, err := c.from.enter(ctx)
	defer cancel()
	if err != nil {
		return nil, err
	}
	return c.from.backend.latest(ctx, c.runID)
}

func (c *copying[S]) checkpoints(ctx context.Context, last int32) error {
	for r, err := range c.from.recordsV2(ctx, c.runID) {
		if err != nil {
			return err
		}
		if r.StepID > last {
			break
		}
		if err := c.checkpoint(&r); err != nil {
			return fmt.Errorf("checkpoint %d: %w", r.StepID, err)
		}
	}
	return nil
}

func (c *copying[S]) checkpoint(r *wire.V2Record) error {
	codec, step := c.from.codec, int(r.StepID)
	state, err := decode[json.RawMessage](codec, Binding{KindCheckpointV2, c.runID, step}, r.State)
	if err != nil {
		return err
	}
	frontier, err := decode[json.RawMessage](codec, Binding{KindFrontier, c.runID, step}, r.Frontier)
	if err != nil {
		return err
	}
	recorded, err := decode[json.RawMessage](codec, Binding{KindRecordedIOs, c.runID, step}, r.RecordedIOs)
	if err != nil {
		return err
	}
	return c.to.SaveCheckpointV2(CheckpointV2[json.RawMessage]{
		RunID: c.newRunID, StepID: step, State: state, Frontier: frontier, RecordedIOs: recorded, RNGSeed: r.RNGSeed, Timestamp: r.Timestamp,
		Label: r.Label,
	})
}
