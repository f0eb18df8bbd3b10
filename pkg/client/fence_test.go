package client_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// The replay window is over and persistd has trimmed the beginning. The log refuses what expects it; the run's attempt is what it was.
func TestAFenceThatWasTrimmedIsSetUpAgain(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		opts []client.Option
	}{
		{"with room", []client.Option{client.WithCloseTimeout(eventually)}},
		{"in a full client", []client.Option{client.WithCloseTimeout(eventually), client.WithMaxInFlight(1, 1)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l, d := withPersistd(t)
			st, other := l.open(t, row.opts...), l.open(t, client.WithAttempt(1))
			begin(t, st, "run")
			require.NoError(t, st.SaveStep(t.Context(), "run", 1, "", state{}))
			require.NoError(t, other.SaveStep(t.Context(), "run", 2, "", state{}))

			d.forget(t, "run", 1)
			require.NoError(t, st.SaveStep(t.Context(), "run", 3, "", state{}))
			require.Equal(t, []int{1}, l.attempts(t, "run"))
			require.NoError(t, other.SaveStep(t.Context(), "run", 4, "", state{}), "it finds the new one")
			require.Equal(t, []int{1}, l.attempts(t, "run"))

			d.forget(t, "run", 1)
			require.NoError(t, st.SaveStepBatch(t.Context(), "run", large(5, 4)))
			d.forget(t, "run", 1)
			for step := range 50 {
				require.NoError(t, st.SaveStep(async(t.Context()), "run", 10+step, "", state{}))
			}
			require.NoError(t, st.Close(), "also of what is queued, in order")
			var got []int
			for _, steps := range l.transactions(t, "run") {
				got = append(got, steps...)
			}
			want := []int{1, 2, 3, 4, 5, 6, 7, 8}
			for step := range 50 {
				want = append(want, 10+step)
			}
			require.Equal(t, want, got)
		})
	}
}

func TestAWriteWaitsForPersistdToSayWhyItsFenceIsRefused(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	st := l.open(t, client.WithAttemptTimeout(soon))
	begin(t, st, "run")
	d.forget(t, "run", 1)
	d.busy.Store(math.MaxInt64)
	refused := func() bool { return d.busy.Load() < math.MaxInt64 } // by the log: the client asks why
	err := overWhen(t, refused, func(ctx context.Context) error { return st.SaveStep(ctx, "run", 1, "", state{}) })
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown, "it was refused")
	require.NoError(t, st.SaveStep(async(t.Context()), "run", 2, "", state{}))
	require.Eventually(t, func() bool { return errors.Is(st.Flush(within(t, soon)), client.ErrUnavailable) }, eventually, poll)

	d.busy.Store(0)
	require.NoError(t, st.Flush(t.Context()))
	require.Equal(t, [][]int{{2}}, l.transactions(t, "run"))

	d.busy.Store(math.MaxInt64)
	err = overWhen(t, refused, func(ctx context.Context) error {
		_, err := st.BeginAttempt(ctx, "run")
		return err
	})
	require.ErrorIs(t, err, client.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, st.SaveStep(attemptOf(within(t, soon), 1), "new", 1, "", state{}), client.ErrUnavailable)
}

// A write was not answered; when it is tried again, a newer attempt has begun. The log's refusal does not tell whether it was stored before.
func TestAnUnansweredWriteIsToldApartFromAStaleOne(t *testing.T) {
	t.Parallel()
	saves := map[string]func(ctx context.Context, st client.Store[state]) error{
		"a step": func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStep(ctx, "run", 1, "", state{})
		},
		"a batch": func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStepBatch(ctx, "run", large(1, 5))
		},
	}
	for name, save := range saves {
		t.Run(name+" that was stored", func(t *testing.T) {
			t.Parallel()
			l, _ := withPersistd(t)
			p := newProxy(t, l.url)
			st := open[state](t, p.url())
			begin(t, st, "run")
			p.dropAnswers(true)
			done := make(chan error, 1)
			go func() { done <- save(t.Context(), st) }()
			require.Eventually(t, func() bool { return l.count(t.Context()) > 1 }, eventually, poll)
			begin(t, l.open(t), "run")
			p.dropAnswers(false)
			p.cut()
			require.NoError(t, requireSoon(t, done), "it was in time")
			require.Len(t, l.transactions(t, "run"), 1)
		})
		t.Run(name+" that was not", func(t *testing.T) {
			t.Parallel()
			l, _ := withPersistd(t)
			p := newProxy(t, l.url)
			st := open[state](t, p.url())
			begin(t, st, "run")
			p.holdRequests(true)
			done := make(chan error, 1)
			go func() { done <- save(t.Context(), st) }()
			requireBlocked(t, done, soon)
			begin(t, l.open(t), "run")
			p.holdRequests(false)
			p.cut()
			err := requireSoon(t, done)
			require.ErrorIs(t, err, client.ErrStaleAttempt)
			require.NotErrorIs(t, err, client.ErrOutcomeUnknown)
			require.Empty(t, l.transactions(t, "run"))
		})
	}
}
