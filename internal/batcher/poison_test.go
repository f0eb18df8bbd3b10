package batcher_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func TestI7OneBadEventAmongAThousandStandsAlone(t *testing.T) {
	t.Parallel()
	for _, bad := range []uint64{1, 500, 777, 1000} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, batcher.Config{})
			b.store.refuse = func(ev *wire.Event) bool { return ev.Message.Sequence == bad }
			b.graves.onPut = func() { require.Less(t, b.store.position, bad, "the letter comes before the position passes") }
			b.add(t, steps(1, 1000)...)
			b.Close()
			require.NoError(t, <-b.run(t.Context()))

			require.EqualValues(t, 1000, b.store.position)
			want := append(sequences(1, bad-1), sequences(bad+1, 1000)...)
			require.Equal(t, want, b.store.applied)
			require.Len(t, b.graves.letters, 1)
			require.Equal(t, wire.Poison{Code: wire.CodeDatabase, Reason: "data too long", ErrorNumber: 1406}, b.graves.letters[bad])
			require.LessOrEqual(t, b.store.attempts, 22, "2·log₂(1000) halves, and two for the event itself")
			require.EqualValues(t, 1, b.metric(t, "persistd_events_dead_lettered_total", wire.CodeDatabase))
			last := b.reports[len(b.reports)-1]
			require.EqualValues(t, 1000, last.To)
			var told []uint64
			for _, r := range b.reports {
				for _, ev := range r.Poison {
					told = append(told, ev.Message.Sequence)
				}
			}
			require.Equal(t, []uint64{bad}, told)
		})
	}
}

func TestI7PoisonIsKeptBeforeThePositionPassesIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{RetryMin: 50 * time.Millisecond})
		b.graves.fail = []error{errors.New("stream is full"), errors.New("stream is full")}
		b.add(t, step(1, 100), poisoned(2), step(3, 100))
		out := b.run(t.Context())
		synctest.Wait()
		require.Zero(t, b.store.position)
		require.ErrorContains(t, b.Phase().Err, "stream is full")
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []commit{{150 * time.Millisecond, 3, 2}}, b.store.commits)
		require.Equal(t, []uint64{1, 3}, b.store.applied)
		require.Contains(t, b.graves.letters, uint64(2))
	})
}

func TestI7WaitingForADeadLetterHoldsNobodyElseUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := batcher.NewGate(1, nil)
		shared := func(d *batcher.Deps) { d.Gate = gate }
		stuck, free := setup(t, batcher.Config{}, shared), setup(t, batcher.Config{}, shared)
		for range 100 {
			stuck.graves.fail = append(stuck.graves.fail, errors.New("stream is full"))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stuck.add(t, poisoned(1))
		out := stuck.run(ctx)
		synctest.Wait()
		free.add(t, step(1, 100))
		free.Close()
		require.NoError(t, <-free.run(t.Context()))
		cancel(errors.New("enough"))
		require.ErrorContains(t, <-out, "enough")
		require.Zero(t, stuck.store.position)
	})
}
