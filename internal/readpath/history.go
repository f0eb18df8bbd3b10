package readpath

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/wire"
)

// maxRuns is how many runs a page has at most.
const maxRuns = 1000

// Steps returns a page of the run's steps, of all attempts, with every write in it that was acknowledged before the call (I6). For what
// is not yet in MySQL it waits, until ctx ends.
func (r *Reader) Steps(ctx context.Context, namespace string, q wire.StepsRequest) (wire.StepsReply, error) {
	if err := r.check(namespace, q.RunID); err != nil {
		return wire.StepsReply{}, err
	}
	p := wire.Partition(namespace, q.RunID, r.Partitions)
	for range restarts {
		last, err := r.barrier(ctx, p, namespace, q.RunID)
		if err != nil {
			return wire.StepsReply{}, err
		}
		page, err := r.History.Steps(ctx, q)
		if err != nil || last == 0 {
			return page, err
		}
		// The database may have been restored between the two: then what was read is of before.
		pos, err := r.find(ctx, p)
		if err != nil {
			return wire.StepsReply{}, err
		}
		if pos >= last {
			return page, nil
		}
	}
	return wire.StepsReply{}, fmt.Errorf("read steps: the position of partition %d went back %d times", p, restarts)
}

// CheckpointV2 returns one V2 checkpoint of a run, nil when there is none. They are acknowledged when they are committed, so MySQL has
// every one that was acknowledged before the call (I6).
func (r *Reader) CheckpointV2(ctx context.Context, namespace string, q wire.V2Request) (*wire.V2Record, error) {
	if err := r.check(namespace, q.RunID); err != nil {
		return nil, err
	}
	if err := wire.CheckLabel(q.Label); err != nil {
		return nil, err
	}
	return r.History.CheckpointV2(ctx, q)
}

// CheckpointsV2 returns a page of a run's V2 checkpoints; see CheckpointV2.
func (r *Reader) CheckpointsV2(ctx context.Context, namespace string, q wire.V2ListRequest) (wire.V2ListReply, error) {
	if err := r.check(namespace, q.RunID); err != nil {
		return wire.V2ListReply{}, err
	}
	return r.History.CheckpointsV2(ctx, q)
}

// Runs returns a page of the runs that are in MySQL.
func (r *Reader) Runs(ctx context.Context, namespace string, q wire.RunsRequest) (wire.RunsReply, error) {
	if err := r.checkNamespace(namespace); err != nil {
		return wire.RunsReply{}, err
	}
	if q.Limit == 0 || q.Limit > maxRuns {
		q.Limit = maxRuns
	}
	return r.History.Runs(ctx, q)
}

// CheckIdempotency reports whether an idempotency key was used by an event that is committed. The empty one, which is none, never was.
func (r *Reader) CheckIdempotency(ctx context.Context, namespace, key string) (bool, error) {
	if err := r.checkNamespace(namespace); err != nil {
		return false, err
	}
	if err := wire.CheckKey(key); err != nil || key == "" {
		return false, err
	}
	used, err := r.History.Keys(ctx, []string{key})
	return len(used) > 0, err
}

// Attempt returns the run's newest attempt that has begun, 0 when none has, and the sequence of the last message in the log with which
// one began, 0 when the log has none.
//
// I6: the log is asked before MySQL: a beginning that is committed and trimmed between the two is then in MySQL, and not in neither.
func (r *Reader) Attempt(ctx context.Context, namespace, runID string) (attempt uint32, sequence uint64, err error) {
	if err := r.check(namespace, runID); err != nil {
		return 0, 0, err
	}
	p := wire.Partition(namespace, runID, r.Partitions)
	logged, sequence, err := r.Tail.LastAttempt(ctx, p, namespace, runID)
	if err == nil && logged == 0 && sequence > 0 {
		// The last message begins nothing. Those before it may, and may not be committed yet.
		_, err = r.Tail.Tail(ctx, p, namespace, wire.KindAttempt, runID, 0, func(ev *wire.Event) {
			if ev.Poison == nil {
				logged = max(logged, ev.Attempt)
			}
		})
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read attempt from the log: %w", err)
	}
	begun, err := r.History.Attempt(ctx, runID)
	if err != nil {
		return 0, 0, err
	}
	return max(logged, begun), sequence, nil
}
