package simulation

import (
	"context"
	"slices"
	"sync"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// mutation is what is broken on purpose; intact is nothing.
type mutation string

const (
	intact             mutation = ""
	fenceRemoved       mutation = "the fence is removed"
	epochUnchecked     mutation = "the fence does not look at the epoch"
	positionUnchecked  mutation = "the fence does not look at the position"
	positionBefore     mutation = "the position commits before the rows"
	positionAfter      mutation = "the position commits after the rows"
	retryApplied       mutation = "a commit whose answer was lost is applied again"
	eventSplit         mutation = "an event is split between two transactions"
	sequencesUnguarded mutation = "rows take writes from before their own"
	letterAfterwards   mutation = "the dead letter is kept after the position has passed"
	announcedBefore    mutation = "the position is announced before it is committed"
	rowsBeforeTail     mutation = "MySQL is read before the tail"
	lastOfFollower     mutation = "a follower says which message is the last"
	rememberedPosition mutation = "the log is trimmed by a remembered position"
	sameGeneration     mutation = "a stream that was made again counts as the one before"
	replicaClock       mutation = "the replica's clock decides about leases"
)

// piece is a transaction of a commit.
type piece struct {
	moves  bool // it moves the position
	events []*wire.Event
}

// transactions are those that a batch commits in: one.
func (m mutation) transactions(b *batcher.Batch) []piece {
	switch m {
	case positionBefore:
		return []piece{{moves: true}, {events: b.Events}}
	case positionAfter:
		return []piece{{events: b.Events}, {moves: true}}
	case eventSplit:
		n := len(b.Events) - 1
		if half := len(b.Events[n].Ops) / 2; half > 0 {
			first, second := *b.Events[n], *b.Events[n]
			first.Ops, second.Ops = second.Ops[:half], second.Ops[half:]
			return []piece{{events: append(slices.Clone(b.Events[:n]), &first)}, {moves: true, events: []*wire.Event{&second}}}
		}
	default:
	}
	return []piece{{moves: true, events: b.Events}}
}

// rowsFirst reads the row when it is asked for the tail, and gives it when it is asked for the row.
type rowsFirst struct {
	readpath.Rows
	tail readpath.Tail

	mu   sync.Mutex
	rows map[string]latestAnswer
}

type latestAnswer struct {
	step  *wire.StepRecord
	begun uint32
	pos   uint64
}

func (r *rowsFirst) Tail(ctx context.Context, no int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (uint64, error) {
	if kind == wire.KindRun {
		step, begun, pos, err := r.Rows.Latest(ctx, no, id)
		if err != nil {
			return 0, err
		}
		r.mu.Lock()
		if r.rows == nil {
			r.rows = map[string]latestAnswer{}
		}
		r.rows[id] = latestAnswer{step, begun, pos}
		r.mu.Unlock()
	}
	return r.tail.Tail(ctx, no, namespace, kind, id, after, visit)
}

func (r *rowsFirst) Latest(_ context.Context, _ int, id string) (*wire.StepRecord, uint32, uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.rows[id]
	return a.step, a.begun, a.pos, nil
}

func (r *rowsFirst) Last(ctx context.Context, no int, namespace, kind, id string) (uint64, error) {
	return r.tail.Last(ctx, no, namespace, kind, id)
}

func (r *rowsFirst) LastAttempt(ctx context.Context, no int, namespace, id string) (uint32, uint64, error) {
	return r.tail.LastAttempt(ctx, no, namespace, id)
}
