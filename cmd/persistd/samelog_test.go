package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// emptyTail is that of an empty log.
type emptyTail struct{}

var _ readpath.Tail = emptyTail{}

func (emptyTail) Tail(context.Context, int, string, string, string, uint64, func(*wire.Event)) (uint64, error) {
	return 0, nil
}

func (emptyTail) Last(context.Context, int, string, string, string) (uint64, error) { return 0, nil }

func (emptyTail) LastAttempt(context.Context, int, string, string) (uint32, uint64, error) {
	return 0, 0, nil
}

// readsOf are the ways to read the tail.
func readsOf(l *sameLog) []func(context.Context) error {
	return []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := l.Tail(ctx, 0, "", "", "", 0, func(*wire.Event) {})
			return err
		},
		func(ctx context.Context) error { _, err := l.Last(ctx, 0, "", "", ""); return err },
		func(ctx context.Context) error { _, _, err := l.LastAttempt(ctx, 0, "", ""); return err },
	}
}

func TestI6ReplicaThatWasPausedLooksForItsLogBeforeItAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		looks, gone := 0, error(nil)
		l := newSameLog(emptyTail{}, func(context.Context) error { looks++; return gone })
		for _, read := range readsOf(l) {
			require.NoError(t, read(t.Context()))
		}
		require.Zero(t, looks, "it was just seen")
		<-time.After(sameLogFor) // nothing runs meanwhile, as in a process that is stopped
		for _, read := range readsOf(l) {
			require.NoError(t, read(t.Context()))
		}
		require.Equal(t, 1, looks, "one look for all")
		<-time.After(sameLogFor)
		gone = stream.ErrOther
		for _, read := range readsOf(l) {
			require.ErrorIs(t, read(t.Context()), stream.ErrOther)
		}
	})
}

func TestWhoReadsWaitsForTheLookOfAnotherNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newSameLog(emptyTail{}, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		<-time.After(sameLogFor)
		hanging, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- readsOf(l)[0](hanging) }()
		synctest.Wait()
		ctx, end := context.WithTimeoutCause(t.Context(), time.Second, errors.New("read timed out"))
		defer end()
		require.EqualError(t, readsOf(l)[1](ctx), "read timed out")
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestLogIsLookedAtWhileNobodyReadsAndItsEndIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			looks atomic.Int64
			gone  atomic.Pointer[error]
		)
		l := newSameLog(emptyTail{}, func(context.Context) error {
			looks.Add(1)
			if err := gone.Load(); err != nil {
				return *err
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		failed := make(chan error, 1)
		go l.watch(ctx, func(err error) { failed <- err })
		<-time.After(time.Minute + time.Millisecond)
		require.EqualValues(t, time.Minute/watchLogEvery, looks.Load())
		away := errors.New("no leader")
		gone.Store(&away)
		<-time.After(watchLogEvery)
		require.Empty(t, failed)
		gone.Store(&stream.ErrOther)
		require.ErrorIs(t, <-failed, stream.ErrOther)
	})
}
