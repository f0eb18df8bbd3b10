package mysqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// someEvents draws events of a few runs, with everything that an event can hold, rising in sequence.
func someEvents() *rapid.Generator[[]wire.Event] {
	op := rapid.Custom(func(t *rapid.T) wire.Op {
		n := rapid.Int32Range(0, 2).Draw(t, "n")
		state := fmt.Sprint(rapid.IntRange(1, 3).Draw(t, "state"))
		switch rapid.SampledFrom([]string{"step", "step", "checkpoint", "v2", "v2", "event", "delete"}).Draw(t, "op") {
		case "step":
			return stepOp(n, state)
		case "checkpoint":
			return checkpointOp(fmt.Sprint("cp", n), n, state)
		case "v2":
			return v2Op(n, rapid.SampledFrom([]string{"", "", "k1", "k2", "k3"}).Draw(t, "key"), state)
		case "event":
			return outboxOp(fmt.Sprint("e", n), state)
		default:
			return deleteOp
		}
	})
	event := rapid.Custom(func(t *rapid.T) wire.Event {
		run := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "run")
		attempt := rapid.SampledFrom([]uint32{0, 0, 0, 1, 1, 2}).Draw(t, "attempt")
		if attempt > 0 && rapid.IntRange(0, 3).Draw(t, "begin") == 0 {
			return begin(0, run, attempt)
		}
		ops := rapid.SliceOfN(op, 1, 4).Draw(t, "ops")
		for i := range ops {
			if v2 := ops[i].V2; v2 != nil && v2.Key != "" {
				v2.Key = run + v2.Key // who lost a key to another run could have it once that is deleted
			}
		}
		return attemptOf(attempt, eventOf(0, run, ops...))
	})
	return rapid.Map(rapid.SliceOfN(event, 1, 12), func(events []wire.Event) []wire.Event {
		for i := range events {
			at := eventOf(uint64(3*i+2), "")
			events[i].Message = at.Message
		}
		return events
	})
}

// applyAll commits the events after term's position in batches as long as size says. As the batcher does, it makes poison of what is refused.
func applyAll(ctx context.Context, t require.TestingT, s *Store, term partition.Term, events []wire.Event, size func() int) {
	for len(events) > 0 {
		n := min(size(), len(events))
		b := batch(term, events[:n]...)
		err := s.Commit(ctx, b)
		var e *batcher.Error
		if errors.As(err, &e) && e.Class == batcher.Refused {
			require.NotEmpty(t, e.Refused)
			for i := range b.Events {
				if p, ok := e.Refused[b.Events[i].Message.Sequence]; ok {
					b.Events[i].Poison, b.Events[i].Ops = &p, nil
				}
			}
			err = s.Commit(ctx, b)
		}
		require.NoError(t, err)
		term.Position = b.Last()
		events = events[n:]
	}
}

// What a log leaves in the database does not hang on how it is cut into batches (I5), nor on being applied again, from wherever (I2, I4).
func TestI2I4I5ALogEndsAtTheSameRowsHoweverItIsBatchedAndApplied(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	ctx := context.WithoutCancel(t.Context())
	empty := func(t require.TestingT) {
		for _, table := range allTables {
			_, err := look.ExecContext(ctx, "DELETE FROM "+table)
			require.NoError(t, err)
		}
	}
	back := func(t require.TestingT, to uint64) partition.Term {
		_, err := look.ExecContext(ctx, "UPDATE persistd_partitions SET position=? WHERE partition_no=0", to)
		require.NoError(t, err)
		return partition.Term{Partition: 0, Epoch: term.Epoch, Position: to}
	}
	rapid.Check(t, func(rt *rapid.T) {
		log := someEvents().Draw(rt, "log")
		size := func() int { return rapid.IntRange(1, len(log)).Draw(rt, "size") }
		state := func() string { return dump(t, look, "id", "ord", "updated_at") }
		empty(rt)
		applyAll(ctx, rt, s, back(rt, 0), slices.Clone(log), func() int { return 1 })
		want := state()

		empty(rt)
		applied := slices.Clone(log)
		applyAll(ctx, rt, s, back(rt, 0), applied, size)
		require.Equal(rt, want, state(), "in other batches")

		// What was refused stays so: when yet another attempt has begun since, it could not be told any more.
		log = applied

		exact := func() string { return dump(t, look) }
		was := exact()
		from := rapid.IntRange(0, len(log)-1).Draw(rt, "from")
		to := uint64(0)
		if from > 0 {
			to = log[from-1].Message.Sequence
		}
		applyAll(ctx, rt, s, back(rt, to), slices.Clone(log[from:]), size)
		require.Equal(rt, was, exact(), "applied again, from %d", to)
	})
}
