package client

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"time"
	"unicode/utf8"

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
	return func(yield func(wire.StepRecord, error) bool) {
		var first wire.Op
		left, wrong := max(limit, 0), cmp.Or(checkRun(runID), setStep(&first, from))
		pages(wrong, func(next *int32) ([]wire.StepRecord, *int32, error) {
			ctx, cancel, err := s.enter(ctx)
			defer cancel()
			if err != nil {
				return nil, nil, err
			}
			page, err := s.backend.steps(ctx, wire.StepsRequest{RunID: runID, From: *cmp.Or(next, &first.Step), Limit: left})
			if limit > 0 {
				if left -= len(page.Steps); left <= 0 {
					page.Next = nil
				}
			}
			return page.Steps, page.Next, err
		})(yield)
	}
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
	var wrong error
	if !utf8.ValidString(filter.Prefix) || !utf8.ValidString(filter.After) {
		wrong = &fault{kind: ErrInvalidID, err: errors.New("prefix or after is not valid UTF-8: no id is like it")}
	}
	return pages(wrong, func(after *string) ([]wire.RunRecord, *string, error) {
		ctx, cancel, err := s.enter(ctx)
		defer cancel()
		if err != nil {
			return nil, nil, err
		}
		page, err := s.backend.runs(ctx, wire.RunsRequest{
			// What is saved is kept to the microsecond: what was saved after this moment may be a fraction of one before it.
			Prefix: filter.Prefix, UpdatedSince: filter.UpdatedSince.Truncate(time.Microsecond), After: *cmp.Or(after, &filter.After),
			Limit: min(max(filter.Limit, 0), maxRuns),
		})
		if page.Next == "" {
			return page.Runs, nil, err
		}
		return page.Runs, &page.Next, err
	})
}

// maxRuns is how many runs a page has at most.
const maxRuns = 1000

func (s *store[S]) DeleteRun(ctx context.Context, runID string) error {
	b := s.builder()
	if err := b.of(runID); err != nil {
		return newError(opDelete, runID, 0, err)
	}
	b.ops = []wire.Op{{Type: wire.OpDeleteRun}}
	return wrapError(opDelete, runID, 0, s.commit(ctx, b))
}

// watchWait is how long one request of a watch may be held: well within what a call may take.
func (s *store[S]) watchWait() time.Duration {
	return max(min(4*time.Second, s.timeout/2), time.Millisecond)
}

func (s *store[S]) WatchRun(ctx context.Context, runID string, from int) iter.Seq2[Step[S], error] {
	return func(yield func(Step[S], error) bool) {
		var first wire.Op
		err := cmp.Or(s.usable(), checkRun(runID), setStep(&first, from))
		q := wire.WatchRequest{RunID: runID, From: first.Step, WaitMS: s.watchWait().Milliseconds()}
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
