package client

import (
	"context"
	"iter"
	"math"

	"github.com/persistd/persistd/internal/wire"
)

func (s *store[S]) SaveCheckpointV2(ctx context.Context, cp CheckpointV2[S], opts ...SaveOption) error {
	b := s.builder()
	b.keyed = cp.IdempotencyKey != ""
	if err := b.SaveCheckpointV2(cp, opts...); err != nil {
		return newError(opSaveV2, cp.RunID, cp.StepID, err)
	}
	return wrapError(opSaveV2, cp.RunID, cp.StepID, s.commit(ctx, b))
}

func (s *store[S]) LoadCheckpointV2(ctx context.Context, runID string, stepID int) (CheckpointV2[S], error) {
	var op wire.Op
	if err := setStep(&op, stepID); err != nil {
		return CheckpointV2[S]{}, newError(opLoadV2, runID, stepID, err)
	}
	cp, err := s.loadV2(ctx, wire.V2Request{RunID: runID, StepID: &op.Step})
	return cp, wrapError(opLoadV2, runID, stepID, err)
}

func (s *store[S]) LoadCheckpointV2ByLabel(ctx context.Context, runID, label string) (CheckpointV2[S], error) {
	cp, err := CheckpointV2[S]{}, bad(wire.CheckLabel(label))
	switch {
	case err != nil:
	case label == "": // no checkpoint has it
		if err = s.usable(); err == nil {
			err = ErrNotFound
		}
	default:
		cp, err = s.loadV2(ctx, wire.V2Request{RunID: runID, Label: label})
	}
	return cp, wrapError(opLoadLabel, runID, 0, err)
}

func (s *store[S]) LoadLatestCheckpointV2(ctx context.Context, runID string) (CheckpointV2[S], error) {
	cp, err := s.loadV2(ctx, wire.V2Request{RunID: runID})
	return cp, wrapError(opLoadLatestV2, runID, 0, err)
}

func (s *store[S]) loadV2(ctx context.Context, q wire.V2Request) (CheckpointV2[S], error) {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = checkRun(q.RunID)
	}
	var found *wire.V2Record
	if err == nil {
		found, err = s.backend.checkpointV2(ctx, q)
	}
	if err == nil && found == nil {
		err = ErrNotFound
	}
	if err != nil {
		return CheckpointV2[S]{}, err
	}
	return s.decodeV2(q.RunID, found)
}

func (s *store[S]) decodeV2(runID string, r *wire.V2Record) (cp CheckpointV2[S], err error) {
	cp = CheckpointV2[S]{
		RunID: runID, StepID: int(r.StepID), RNGSeed: r.RNGSeed, IdempotencyKey: r.IdempotencyKey, Timestamp: r.Timestamp.UTC(), Label: r.Label,
	}
	if cp.State, err = decode[S](s.codec, Binding{KindCheckpointV2, runID, cp.StepID}, r.State); err != nil {
		return CheckpointV2[S]{}, err
	}
	if cp.Frontier, err = decodeAny(s.codec, Binding{KindFrontier, runID, cp.StepID}, r.Frontier); err != nil {
		return CheckpointV2[S]{}, err
	}
	if cp.RecordedIOs, err = decodeAny(s.codec, Binding{KindRecordedIOs, runID, cp.StepID}, r.RecordedIOs); err != nil {
		return CheckpointV2[S]{}, err
	}
	return cp, nil
}

func (s *store[S]) ListCheckpointsV2(ctx context.Context, runID string) iter.Seq2[CheckpointV2[S], error] {
	return func(yield func(CheckpointV2[S], error) bool) {
		for r, err := range s.recordsV2(ctx, runID) {
			var cp CheckpointV2[S]
			if err == nil {
				cp, err = s.decodeV2(runID, &r)
			}
			if err != nil {
				yield(CheckpointV2[S]{}, newError(opListV2, runID, 0, err))
				return
			}
			if !yield(cp, nil) {
				return
			}
		}
	}
}

// recordsV2 yields the run's checkpoints as they are stored.
func (s *store[S]) recordsV2(ctx context.Context, runID string) iter.Seq2[wire.V2Record, error] {
	return pages(checkRun(runID), func(from *int32) ([]wire.V2Record, *int32, error) {
		ctx, cancel, err := s.enter(ctx)
		defer cancel()
		if err != nil {
			return nil, nil, err
		}
		page, err := s.backend.checkpointsV2(ctx, wire.V2ListRequest{RunID: runID, From: orLowest(from)})
		return page.Checkpoints, page.Next, err
	})
}

func orLowest(from *int32) int32 {
	if from == nil {
		return math.MinInt32
	}
	return *from
}

// pages yields what read reads page by page: it is given where a page begins, nil for the first, and returns where the next does, nil
// after the last. bad is an error that comes first.
func pages[T, C any](bad error, read func(from *C) ([]T, *C, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var (
			nothing T
			from    *C
		)
		for err := bad; ; {
			var page []T
			if err == nil {
				page, from, err = read(from)
			}
			if err != nil {
				yield(nothing, err)
				return
			}
			for _, item := range page {
				if !yield(item, nil) {
					return
				}
			}
			if from == nil {
				return
			}
		}
	}
}

func (s *store[S]) CheckIdempotency(ctx context.Context, key string) (bool, error) {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = bad(wire.CheckKey(key))
	}
	var used bool
	if err == nil && key != "" {
		used, err = s.backend.used(ctx, key)
	}
	return used, wrapError(opCheckKey, "", 0, err)
}
