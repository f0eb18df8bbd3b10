package batcher_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

var tooOld = wire.Poison{Code: wire.CodeAttempt, Reason: "attempt 1 is over: 2 began"}

// stale refuses the events at these sequences.
func stale(seqs ...uint64) func(*wire.Event) *wire.Poison {
	return func(ev *wire.Event) *wire.Poison {
		if slices.Contains(seqs, ev.Message.Sequence) {
			return &tooOld
		}
		return nil
	}
}

// told are the events that were reported as passed over, in order.
func (b *bundle) told() (seqs []uint64) {
	for _, r := range b.reports {
		for _, ev := range r.Poison {
			seqs = append(seqs, ev.Message.Sequence)
		}
	}
	return seqs
}

func TestI7RefusedEventsAreTakenOutAndTheRestCommitsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{})
		b.store.took, b.store.stale = 10*time.Millisecond, stale(1, 500, 1000)
		b.graves.onPut = func() { require.Zero(t, b.store.position, "the letters come before the position passes") }
		b.add(t, steps(1, 1000)...)
		b.Close()
		require.NoError(t, <-b.run(t.Context()))

		require.Equal(t, []commit{{20 * time.Millisecond, 1000, 997}}, b.store.commits, "one transaction more, and no pause")
		require.Equal(t, slices.Concat(sequences(2, 499), sequences(501, 999)), b.store.applied)
		require.Equal(t, map[uint64]wire.Poison{1: tooOld, 500: tooOld, 1000: tooOld}, b.graves.letters)
		require.Equal(t, 1, b.graves.puts)
		require.Equal(t, []uint64{1, 500, 1000}, b.told())
		require.Equal(t, tooOld, *b.reports[0].Poison[0].Poison, "those who wait are told why")
		require.Zero(t, b.Queued())
		require.EqualValues(t, 3, b.metric(t, "persistd_events_dead_lettered_total", wire.CodeAttempt))
		require.Zero(t, b.metric(t, "persistd_batch_splits_total"))
		require.Zero(t, b.metric(t, "persistd_retries_total", "again"))
		require.Zero(t, b.metric(t, "persistd_queue_bytes", "3"))
	})
}

func TestI7ABatchOfNothingButRefusedEventsIsPassed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{})
		b.store.stale = stale(1, 2)
		b.add(t, steps(1, 2)...)
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, []commit{{0, 2, 0}}, b.store.commits)
		require.Len(t, b.graves.letters, 2)
	})
}

// One event of a batch is refused by name, another by the database, and a third was poison from the start.
func TestI7EveryKindOfPoisonInOneBatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{})
		b.store.stale = stale(2)
		b.store.refuse = func(ev *wire.Event) bool { return ev.Message.Sequence == 4 }
		b.add(t, step(1, 100), step(2, 100), poisoned(3), step(4, 100), step(5, 100))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, []uint64{1, 5}, b.store.applied)
		require.Equal(t, []uint64{2, 3, 4}, b.told())
		codes := map[uint64]string{}
		for seq, why := range b.graves.letters {
			codes[seq] = why.Code
		}
		require.Equal(t, map[uint64]string{2: wire.CodeAttempt, 3: wire.CodeNotJSON, 4: wire.CodeDatabase}, codes)
	})
}

// A store that refuses without naming anybody new is waited for: no event is lost by its mistake, and no loop spins.
func TestRefusalThatNamesNobodyIsTriedAgainWithPauses(t *testing.T) {
	t.Parallel()
	for name, named := range map[string]map[uint64]wire.Poison{
		"nobody":                     nil,
		"an event of another batch":  {99: tooOld},
		"what has its letter anyway": {2: tooOld},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, batcher.Config{RetryMin: 50 * time.Millisecond, RetryMax: 100 * time.Millisecond})
				for range 3 {
					b.store.before = append(b.store.before, &batcher.Error{Class: batcher.Refused, Refused: named, Err: errors.New("out of order")})
				}
				b.add(t, step(1, 100), poisoned(2))
				out := b.run(t.Context())
				synctest.Wait()
				require.Equal(t, batcher.Waiting, b.Phase().Name)
				require.Equal(t, batcher.Again, b.Phase().Class)
				require.ErrorContains(t, b.Phase().Err, "out of order")
				b.Close()
				require.NoError(t, <-out)
				require.Equal(t, []commit{{250 * time.Millisecond, 2, 1}}, b.store.commits, "50 + 100 + 100")
				require.EqualValues(t, 3, b.metric(t, "persistd_retries_total", "again"))
				require.Len(t, b.graves.letters, 1)
				require.Equal(t, wire.CodeNotJSON, b.graves.letters[2].Code)
			})
		})
	}
}

func TestI7WaitingForTheLetterOfARefusedEventHoldsNobodyElseUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gate := batcher.NewGate(1, nil)
		shared := func(d *batcher.Deps) { d.Gate = gate }
		stuck, free := setup(t, batcher.Config{}, shared), setup(t, batcher.Config{}, shared)
		stuck.store.stale = stale(1)
		for range 100 {
			stuck.graves.fail = append(stuck.graves.fail, errors.New("stream is full"))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		stuck.add(t, step(1, 100))
		out := stuck.run(ctx)
		synctest.Wait()
		require.Equal(t, batcher.Operator, stuck.Phase().Class)
		free.add(t, step(1, 100))
		free.Close()
		require.NoError(t, <-free.run(t.Context()))
		cancel(errors.New("enough"))
		require.ErrorContains(t, <-out, "enough")
		require.Zero(t, stuck.store.position)
	})
}

// inParts is a transaction of n messages that ends at seq.
func inParts(seq uint64, n int, m wire.Message) wire.Event {
	ev := step(seq, 0)
	ev.Ops = nil
	for i := range n {
		m.Sequence, m.Logged = seq-uint64(n-1-i), time.Now()
		ev.Parts = append(ev.Parts, m)
		ev.Ops = append(ev.Ops, wire.Op{Type: wire.OpStep, Step: int32(i), State: []byte("{}")})
	}
	ev.Message = m
	return ev
}

func TestI5TransactionInPartsGoesAloneAndIsNeverSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{MaxRows: 10, MaxBytes: 1 << 20, QueueBytes: 1 << 20})
		b.store.took = time.Second
		big := inParts(30, 25, wire.Message{})
		big.Size = 64 << 20
		out := b.run(t.Context())
		b.add(t, step(1, 100), big)
		require.Equal(t, time.Second, time.Since(epoch), "it has the whole queue for itself, and so waits for the first commit")
		b.add(t, step(31, 100))
		require.Equal(t, 2*time.Second, time.Since(epoch), "and what follows waits for it")
		b.Close()
		require.NoError(t, <-out)
		require.Equal(t, []commit{{time.Second, 1, 1}, {2 * time.Second, 1, 25}, {3 * time.Second, 1, 1}}, b.store.commits)
		require.EqualValues(t, 30, b.reports[1].To, "its sequence is its last message's")
	})
}

// The compressed bodies and the headers of all messages are in memory, not only the last one's.
func TestAllPartsCountAgainstTheQueue(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]wire.Message{
		"compressed bodies": {Header: wire.Header{wire.HeaderEncoding: {wire.EncodingZstd}}, Body: make([]byte, 60<<10)},
		"headers":           {Header: wire.Header{"Trace": {strings.Repeat("x", 60<<10)}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, batcher.Config{QueueBytes: 1 << 20, MaxBytes: 1 << 20})
				b.store.took = time.Second
				out := b.run(t.Context())
				b.add(t, inParts(10, 10, m), step(11, 350<<10))
				require.Zero(t, time.Since(epoch), "there is room")
				b.add(t, step(12, 100<<10))
				require.Equal(t, time.Second, time.Since(epoch), "there is none: it waits for the first commit")
				b.Close()
				require.NoError(t, <-out)
			})
		})
	}
}

func TestAnAttemptHasTimeForItsBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batcher.Config{AttemptTimeout: 30 * time.Second, RetryMin: time.Second})
		b.store.hang = 1
		b.add(t, step(1, 64<<20))
		b.Close()
		require.NoError(t, <-b.run(t.Context()))
		require.Equal(t, []commit{{95 * time.Second, 1, 1}}, b.store.commits, "30 + 64, and the pause")
	})
}
