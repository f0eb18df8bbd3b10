package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

func (s *store[S]) Steps(ctx context.Context, runID string, from, limit int) iter.Seq2[Step[S], error] {
	return func(yield func(Step[S], error) bool) {
		for r, err := range s.stepRecords(ctx, runID, from, limit) {
			var step Step[S]
			if err == nil {
				step, err = s.decodeStep(runID, &r)
			}
			if err != nil {
				yield(Step[S]{}, newError(opSteps, runID, 0, err))
				return
			}
			if !yield(step, nil) {
				return
			}
		}
	}
}

// stepRecords yields the run's steps as they are stored; limit 0 or less is no limit.
func (s *store[S]) stepRecords(ctx context.Context, runID string, from, limit int) iter.Seq2[wire.StepRecord, error] {
	var first wire.Op
	bad := checkRun(runID)
	if bad == nil {
		bad = setStep(&first, from)
	}
	left := limit
	return pages(bad, func(next *int32) ([]wire.StepRecord, *int32, error) {
		ctx, cancel := s.withDeadline(ctx)
		defer cancel()
		if next == nil {
			next = &first.Step
		}
		page, err := s.backend.steps(ctx, wire.StepsRequest{RunID: runID, From: *next, Limit: max(left, 0)})
		if limit > 0 {
			if left -= len(page.Steps); left <= 0 {
				page.Next = nil
			}
		}
		return page.Steps, page.Next, err
	})
}

func (s *store[S]) decodeStep(runID string, r *wire.StepRecord) (Step[S], error) {
	state, err := decode[S](s.codec, Binding{KindStep, runID, int(r.Step)}, r.State)
	if err != nil {
		return Step[S]{}, err
	}
	return Step[S]{Step: int(r.Step), NodeID: r.NodeID, State: state, Attempt: int(r.Attempt), SavedAt: r.SavedAt.UTC()}, nil
}

func (s *store[S]) GetStep(ctx context.Context, runID string, number int) (Step[S], error) {
	for r, err := range s.stepRecords(ctx, runID, number, 1) {
		if err == nil && int(r.Step) != number {
			break
		}
		var step Step[S]
		if err == nil {
			step, err = s.decodeStep(runID, &r)
		}
		return step, wrapError(opGetStep, runID, number, err)
	}
	return Step[S]{}, newError(opGetStep, runID, number, ErrNotFound)
}

func (s *store[S]) ListRuns(ctx context.Context, filter RunFilter) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		left := filter.Limit
		for r, err := range s.runRecords(ctx, filter) {
			if err != nil {
				yield(Run{}, newError(opListRuns, "", 0, err))
				return
			}
			run := Run{RunID: r.RunID, Attempt: int(r.Attempt), LastStep: int(r.LastStep), NodeID: r.NodeID, UpdatedAt: r.UpdatedAt.UTC()}
			if !yield(run, nil) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

func (s *store[S]) runRecords(ctx context.Context, filter RunFilter) iter.Seq2[wire.RunRecord, error] {
	q := wire.RunsRequest{Prefix: filter.Prefix, UpdatedSince: filter.UpdatedSince, After: filter.After, Limit: max(filter.Limit, 0)}
	return pages(nil, func(after *string) ([]wire.RunRecord, *string, error) {
		ctx, cancel := s.withDeadline(ctx)
		defer cancel()
		if after != nil {
			q.After = *after
		}
		page, err := s.backend.runs(ctx, q)
		if page.Next == "" {
			return page.Runs, nil, err
		}
		return page.Runs, &page.Next, err
	})
}

func (s *store[S]) DeleteRun(ctx context.Context, runID string) error {
	b := s.builder()
	if err := b.of(runID); err != nil {
		return newError(opDelete, runID, 0, err)
	}
	b.ops = []wire.Op{{Type: wire.OpDeleteRun}}
	return wrapError(opDelete, runID, 0, s.commit(ctx, b))
}

func (s *store[S]) CopyRun(ctx context.Context, runID string, uptoStep int, newRunID string) error {
	if err := s.copyRun(ctx, runID, uptoStep, newRunID); err != nil {
		return newError(opCopy, runID, 0, fmt.Errorf("to run %.300q: %w", newRunID, err))
	}
	return nil
}

// copyRun carries the states through the log: what is copied is then what it was when the copy was made, also in a replay.
func (s *store[S]) copyRun(ctx context.Context, runID string, uptoStep int, newRunID string) error {
	var op wire.Op
	for _, err := range []error{checkRun(runID), checkRun(newRunID), setStep(&op, uptoStep)} {
		if err != nil {
			return err
		}
	}
	for _, err := range s.stepRecords(ctx, newRunID, -1<<31, 1) {
		if err == nil {
			err = ErrExists
		}
		return err
	}
	b := &builder[json.RawMessage]{codec: s.codec, maxDepth: s.maxDepth}
	for r, err := range s.stepRecords(ctx, runID, -1<<31, 0) {
		if err != nil {
			return err
		}
		if r.Step > op.Step {
			break
		}
		state, err := decode[json.RawMessage](s.codec, Binding{KindStep, runID, int(r.Step)}, r.State)
		if err == nil {
			err = b.SaveStep(newRunID, int(r.Step), r.NodeID, state)
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", r.Step, err)
		}
	}
	raw := &store[json.RawMessage]{codec: s.codec}
	for r, err := range s.recordsV2(ctx, runID) {
		if err != nil {
			return err
		}
		if r.StepID > op.Step {
			break
		}
		cp, err := raw.decodeV2(runID, &r)
		if err == nil { // not as what encoding/json makes of it: that has no integers
			cp.Frontier, err = decode[json.RawMessage](s.codec, Binding{KindFrontier, runID, cp.StepID}, r.Frontier)
		}
		if err == nil {
			cp.RecordedIOs, err = decode[json.RawMessage](s.codec, Binding{KindRecordedIOs, runID, cp.StepID}, r.RecordedIOs)
		}
		if err == nil {
			cp.RunID, cp.IdempotencyKey = newRunID, ""
			err = b.SaveCheckpointV2(cp)
		}
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", r.StepID, err)
		}
	}
	if len(b.ops) == 0 {
		return ErrNotFound
	}
	w, err := b.write()
	if err != nil {
		return err
	}
	ctx, cancel := s.withDeadline(ctx)
	defer cancel()
	w.durability = Committed
	if w.attempt, err = s.attemptOf(ctx, w); err != nil {
		return err
	}
	return s.backend.apply(ctx, w)
}

// watchWait is how long one request of a watch may be held.
const watchWait = 4 * time.Second

func (s *store[S]) WatchRun(ctx context.Context, runID string, from int) iter.Seq2[Step[S], error] {
	return func(yield func(Step[S], error) bool) {
		var first wire.Op
		err := checkRun(runID)
		if err == nil {
			err = setStep(&first, from)
		}
		q := wire.WatchRequest{RunID: runID, From: first.Step, WaitMS: min(watchWait, s.timeout/2).Milliseconds()}
		for err == nil {
			var page wire.WatchReply
			if page, err = s.watchPage(ctx, q); err != nil {
				break
			}
			q.Cursor = page.Cursor
			for i := range page.Steps {
				var step Step[S]
				if step, err = s.decodeStep(runID, &page.Steps[i]); err != nil {
					break
				}
				if !yield(step, nil) {
					return
				}
			}
		}
		if ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
			yield(Step[S]{}, newError(opWatch, runID, 0, err))
		}
	}
}

func (s *store[S]) watchPage(ctx context.Context, q wire.WatchRequest) (wire.WatchReply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.backend.watch(ctx, q)
}
