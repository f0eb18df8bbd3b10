package client_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// attempts are the attempts of a run's beginnings, in the order of the log.
func (l *thelog) attempts(t *testing.T, run string) (begun []int) {
	t.Helper()
	for _, ev := range l.requireEvents(t) {
		if ev.RunID == run && ev.Kind == wire.KindAttempt {
			begun = append(begun, int(ev.Attempt))
		}
	}
	return begun
}

func attemptOf(ctx context.Context, n int) context.Context { return client.ContextWithAttempt(ctx, n) }

// withPersistd is a log with a daemon that commits everything at once.
func withPersistd(t *testing.T) (*thelog, *persistd) {
	t.Helper()
	l := newLog(t)
	d := startPersistd(t, l)
	d.position.Store(math.MaxUint64)
	return l, d
}

func begin(t *testing.T, st client.Store[state], run string) int {
	t.Helper()
	n, err := st.BeginAttempt(t.Context(), run)
	require.NoError(t, err)
	return n
}

func TestAttemptsAreCountedAndBeginWhenTheyAreCommitted(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	st := l.open(t)
	require.Equal(t, 1, begin(t, st, "run"))
	require.Equal(t, 2, begin(t, st, "run"))
	require.Equal(t, 1, begin(t, st, "other"))
	d.attempts.Store("known", uint32(7))
	require.Equal(t, 8, begin(t, st, "known"), "of which the log has nothing any more")
	require.Equal(t, []int{1, 2}, l.attempts(t, "run"))

	d.position.Store(0)
	done := make(chan error, 1)
	go func() {
		_, err := st.BeginAttempt(t.Context(), "run")
		done <- err
	}()
	requireBlocked(t, done, soon)
	d.position.Store(math.MaxUint64)
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, []int{1, 2, 3}, l.attempts(t, "run"))

	_, err := st.BeginAttempt(t.Context(), "")
	require.ErrorIs(t, err, client.ErrInvalidID)
}

func TestOfManyWhoBeginAnAttemptEachHasItsOwn(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	const many = 8
	begun := make(chan int, many)
	for range many {
		st := l.open(t)
		go func() {
			n, err := st.BeginAttempt(t.Context(), "run")
			if err != nil {
				n = -1
			}
			begun <- n
		}()
	}
	var got, want []int
	for i := range many {
		got, want = append(got, requireSoon(t, begun)), append(want, i+1)
	}
	slices.Sort(got)
	require.Equal(t, want, got)
	require.Equal(t, want, l.attempts(t, "run"))
}

func TestABeginningThatWasNotAnsweredIsMadeOnce(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(soon))
	published := l.tap(t)
	p.dropAnswersWith(`"seq":`) // those of the log
	done := make(chan error, 1)
	var begun int
	go func() {
		var err error
		begun, err = st.BeginAttempt(t.Context(), "run")
		done <- err
	}()
	first, second := requireSoon(t, published), requireSoon(t, published)
	require.Equal(t, msgID(first), msgID(second))
	p.dropAnswersWith("")
	p.cut()
	require.NoError(t, requireSoon(t, done))
	require.Equal(t, 1, begun)
	require.Equal(t, []int{1}, l.attempts(t, "run"))
}

func TestABeginningWithoutAnAnswerLeavesTheOutcomeUnknownAndSoNotThatOfAWrite(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithAttemptTimeout(time.Second))
	p.dropAnswersWith(`"seq":`)
	err := overWhen(t, func() bool { return l.count(t.Context()) == 1 }, func(ctx context.Context) error {
		_, err := st.BeginAttempt(ctx, "run")
		return err
	})
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	require.Equal(t, []int{1}, l.attempts(t, "run"))

	err = overWhen(t, func() bool { return l.count(t.Context()) == 2 }, func(ctx context.Context) error {
		return st.SaveStep(attemptOf(ctx, 1), "other", 1, "", state{})
	})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorContains(t, err, "beginning of attempt 1")
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown, "the step itself was not published")
	require.Empty(t, l.transactions(t, "other"))
}

// The worker was thought dead, and another has taken its run over. What it still writes is refused by the log itself.
func TestAWorkerThatWasReplacedWritesNothingMore(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		save func(ctx context.Context, st client.Store[state]) error
	}{
		{"a step", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStep(ctx, "run", 9, "", state{})
		}},
		{"a queued step", func(ctx context.Context, st client.Store[state]) error {
			return errors.Join(st.SaveStep(async(ctx), "run", 9, "", state{}), st.Flush(ctx))
		}},
		{"a committed step", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStep(committed(ctx), "run", 9, "", state{})
		}},
		{"a batch", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStepBatch(ctx, "run", large(9, 5))
		}},
		{"a checkpoint", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveCheckpointV2(ctx, client.CheckpointV2[state]{RunID: "run"})
		}},
		{"a deletion", func(ctx context.Context, st client.Store[state]) error { return st.DeleteRun(ctx, "run") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l, _ := withPersistd(t)
			zombie, heir := l.open(t), l.open(t)
			require.Equal(t, 1, begin(t, zombie, "run"))
			require.NoError(t, zombie.SaveStep(t.Context(), "run", 1, "", state{}))
			require.Equal(t, 2, begin(t, heir, "run"))
			stored := l.count(t.Context())

			err := row.save(t.Context(), zombie)
			require.ErrorIs(t, err, client.ErrStaleAttempt)
			require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
			require.Equal(t, stored, l.count(t.Context()), "it is not even in the log")

			published := l.tap(t)
			require.ErrorIs(t, row.save(t.Context(), zombie), client.ErrStaleAttempt)
			require.ErrorIs(t, zombie.SaveStep(attemptOf(t.Context(), 0), "run", 9, "", state{}), client.ErrStaleAttempt)
			require.NoError(t, heir.SaveStep(t.Context(), "run", 2, "", state{}))
			requireSoon(t, published)
			require.Empty(t, published, "it knows now, and does not try")
			require.Equal(t, 3, begin(t, zombie, "run"), "unless it takes the run back")
			require.NoError(t, row.save(t.Context(), zombie))
			require.ErrorIs(t, heir.SaveStep(t.Context(), "run", 2, "", state{}), client.ErrStaleAttempt)
		})
	}
}

func TestAnOperatorsDeletionIsOfNoAttempt(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	worker := l.open(t)
	begin(t, worker, "run")
	require.NoError(t, l.open(t).DeleteRun(t.Context(), "run"))
	require.NoError(t, worker.DeleteRun(attemptOf(t.Context(), 0), "run"))
	require.NoError(t, worker.SaveStep(t.Context(), "run", 1, "", state{}))
}

func TestAnAttemptThatWasSaidBeginsWithItsFirstWrite(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	st, other, older := l.open(t, client.WithAttempt(3)), l.open(t, client.WithAttempt(3)), l.open(t, client.WithAttempt(2))
	for step := range 5 {
		require.NoError(t, st.SaveStep(t.Context(), "run", step, "", state{}))
	}
	require.Equal(t, []int{3}, l.attempts(t, "run"))
	require.Equal(t, int64(1), d.looked.Load(), "it is asked for once")
	require.NoError(t, other.SaveStep(t.Context(), "run", 5, "", state{}), "the same attempt in another process")
	require.ErrorIs(t, older.SaveStep(t.Context(), "run", 6, "", state{}), client.ErrStaleAttempt)
	require.NoError(t, older.SaveStep(attemptOf(t.Context(), 4), "run", 6, "", state{}), "it was told otherwise")
	require.ErrorIs(t, st.SaveStep(t.Context(), "run", 7, "", state{}), client.ErrStaleAttempt)
	require.Equal(t, []int{3, 4}, l.attempts(t, "run"))
	require.Equal(t, [][]int{{0}, {1}, {2}, {3}, {4}, {5}, {6}}, l.transactions(t, "run"))
	require.ErrorIs(t, st.SaveStep(attemptOf(t.Context(), -1), "run", 7, "", state{}), client.ErrInvalidOption)
	require.NoError(t, st.SaveCheckpoint(t.Context(), "checkpoint", state{}, 1), "which is nobody's run's")
}

func TestBeginAttemptWaitsForWhatTheClientHasQueued(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	p := newProxy(t, l.url)
	st := open[state](t, p.url(), client.WithDurability(client.Async), client.WithAttemptTimeout(time.Second))
	p.holdRequests(true)
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", state{}))
	_, err := st.BeginAttempt(within(t, soon), "run")
	require.ErrorContains(t, err, "own queued steps")
	p.holdRequests(false)
	require.Equal(t, 1, begin(t, st, "run"))
	events := l.requireEvents(t)
	require.Len(t, events, 2)
	require.Equal(t, wire.KindAttempt, events[1].Kind)
}
