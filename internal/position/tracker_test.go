package position_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type answer struct {
	out position.Outcome
	err error
}

func wait(ctx context.Context, tr *position.Tracker, seq uint64) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		out, err := tr.Wait(ctx, 1, seq)
		ch <- answer{out, err}
	}()
	return ch
}

func TestWaitEndsWithTheCommitThatPasses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := position.NewTracker(2)
		five, nine, ten := wait(t.Context(), tr, 5), wait(t.Context(), tr, 9), wait(t.Context(), tr, 10)
		synctest.Wait()
		tr.Advance(position.Commit{Partition: 0, From: 0, To: 100}) // another partition
		tr.Advance(position.Commit{Partition: 1, From: 2, To: 4})
		synctest.Wait()
		require.Empty(t, five)
		tr.Advance(position.Commit{Partition: 1, From: 4, To: 9, Rejected: map[uint64]wire.Poison{9: {Code: "x"}}})
		require.Equal(t, answer{out: position.Outcome{Known: true}}, <-five)
		require.Equal(t, answer{out: position.Outcome{Known: true, Rejected: &wire.Poison{Code: "x"}}}, <-nine)
		require.Empty(t, ten)
		require.EqualValues(t, 9, tr.Bound(1))
		tr.Advance(position.Commit{Partition: 1, From: 12, To: 14}) // the announcement of 9..12 was lost
		require.Equal(t, answer{out: position.Outcome{Known: false}}, <-ten, "what became of 10 is not known")

		late, err := tr.Wait(t.Context(), 1, 9)
		require.NoError(t, err)
		require.False(t, late.Known)
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := position.NewTracker(2)
		ctx, cancel := context.WithCancelCause(t.Context())
		gone, stays := wait(ctx, tr, 5), wait(t.Context(), tr, 6)
		synctest.Wait()
		cancel(errors.New("gone"))
		require.EqualError(t, (<-gone).err, "gone")
		tr.Advance(position.Commit{Partition: 1, From: 0, To: 6})
		require.NoError(t, (<-stays).err)
	})
}

func TestBoundGoesBackOnlyForThePositionFound(t *testing.T) {
	t.Parallel()
	tr := position.NewTracker(2)
	tr.Advance(position.Commit{Partition: 1, From: 0, To: 10})
	tr.Advance(position.Commit{Partition: 1, From: 3, To: 5}) // late
	require.EqualValues(t, 10, tr.Bound(1))
	tr.Found(1, 10, 4) // the database was restored
	require.EqualValues(t, 4, tr.Bound(1))
	tr.Advance(position.Commit{Partition: 1, From: 4, To: 7}) // while somebody reads a position
	tr.Found(1, 4, 4)
	require.EqualValues(t, 7, tr.Bound(1), "what was read is older than what was heard since")
	tr.Found(1, 4, 9)
	require.EqualValues(t, 9, tr.Bound(1), "what was read is newer")
	require.EqualValues(t, 0, tr.Bound(0))
}

func TestManyWaitersAreWokenInAnyOrderOfArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tr := position.NewTracker(2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var chans []<-chan answer
		for i := range uint64(1000) {
			chans = append(chans, wait(ctx, tr, i*7919%1000+1))
		}
		synctest.Wait()
		for to := uint64(100); to <= 1000; to += 100 {
			tr.Advance(position.Commit{Partition: 1, From: to - 100, To: to})
		}
		for _, ch := range chans {
			a := <-ch
			require.NoError(t, a.err)
			require.True(t, a.out.Known)
		}
	})
}
