package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var lifecycle = []sentence{
	{"a store that works answers a ping", func(t *testing.T, s *suite) {
		require.NoError(t, s.ping(t.Context(), s.st))
	}},
	{"flush waits for what is queued, and is no error when nothing is", func(t *testing.T, s *suite) {
		st, run := s.another(t), unique("run")
		require.NoError(t, st.Flush(t.Context()))
		for n := range 100 * s.scale {
			require.NoError(t, st.SaveStep(async(t), run, n, "", State{N: int64(n)}))
		}
		require.NoError(t, st.Flush(t.Context()))
		requireLatest(t, s.st, run, 100*s.scale-1, State{N: int64(100*s.scale - 1)})
		require.NoError(t, st.Flush(t.Context()))
	}},
	{"closing flushes, and may be done again", func(t *testing.T, s *suite) {
		st, run := s.opener(t, Settings{}), unique("run")
		for n := range 100 * s.scale {
			require.NoError(t, st.SaveStep(async(t), run, n, "", State{N: int64(n)}))
		}
		require.NoError(t, st.Close())
		require.NoError(t, st.Close())
		requireLatest(t, s.st, run, 100*s.scale-1, State{N: int64(100*s.scale - 1)})
	}},
	{"what was saved is there for who opens the store again", func(t *testing.T, s *suite) {
		run, key := unique("run"), unique("key")
		st := s.opener(t, Settings{})
		saveSteps(t, st, run, 3)
		saveV2(t, st, client.CheckpointV2[State]{RunID: run, StepID: 3, IdempotencyKey: key})
		require.NoError(t, st.Close())
		st = s.another(t)
		requireLatest(t, st, run, 3, State{N: 3})
		requireUsed(t, st, key, true)
	}},
	{"a closed store does nothing more", func(t *testing.T, s *suite) {
		st := s.opener(t, Settings{})
		require.NoError(t, st.Close())
		ctx, cancel := context.WithTimeout(t.Context(), s.patience) // a watch would go on for ever
		defer cancel()
		for name, call := range calls(st) {
			require.ErrorIs(t, call(ctx), client.ErrClosed, name)
		}
		for name, err := range map[string]error{
			"steps of none":   st.SaveStepBatch(t.Context(), unique("run"), nil),
			"no transaction":  st.WithTransaction(t.Context(), func(client.Tx[State]) error { return nil }),
			"marking nothing": st.MarkEventsEmitted(t.Context(), nil),
		} {
			require.ErrorIs(t, err, client.ErrClosed, name)
		}
		_, err := st.CheckIdempotency(t.Context(), "")
		require.ErrorIs(t, err, client.ErrClosed)
	}},
	{"closing ends a watch, with ErrClosed", func(t *testing.T, s *suite) {
		st, run := s.opener(t, Settings{}), unique("run")
		save(t, st, run, 1, State{N: 1})
		shown, _ := watch(t, st, run, 0)
		s.requireShown(t, shown, 1, 1)
		require.NoError(t, st.Close())
		select {
		case w, ok := <-shown:
			require.True(t, ok)
			require.ErrorIs(t, w.err, client.ErrClosed)
		case <-time.After(s.patience):
			require.FailNow(t, "the watch did not end")
		}
		_, more := <-shown
		require.False(t, more, "an error is the last that an iterator yields")
	}},
	{"closing while workers save loses nothing that was acknowledged", func(t *testing.T, s *suite) {
		st, run, workers := s.opener(t, Settings{}), unique("run"), 8
		done, acked := make(chan []error, 1), make(chan struct{}, 5*workers)
		last := make([]int, workers)
		go func() {
			done <- together(workers, func(w int) error {
				for n := 0; ; n++ {
					if err := st.SaveStep(t.Context(), run, n*workers+w, "", State{N: int64(n)}); err != nil {
						return err
					}
					last[w] = n + 1
					select {
					case acked <- struct{}{}:
					default:
					}
				}
			})
		}()
		// What tells when to close is what they are told, and not what others read meanwhile: on a log that grows without end that may take its time.
		require.Eventually(t, func() bool { return len(acked) == cap(acked) }, s.patience, time.Millisecond)
		require.NoError(t, st.Close())
		for _, err := range <-done {
			require.ErrorIs(t, err, client.ErrClosed)
		}
		found := map[int]bool{}
		for _, step := range all(t, s.st.Steps(t.Context(), run, 0, 0)) {
			found[step.Step] = true
		}
		for w, n := range last {
			for i := range n {
				require.True(t, found[i*workers+w], "step %d of worker %d was acknowledged", i, w)
			}
		}
	}},
	{"a ctx that has ended ends every call, and nothing is saved", func(t *testing.T, s *suite) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		run := unique("run")
		for name, call := range calls(s.st) {
			if name == "WatchRun" { // of which it is no error
				continue
			}
			require.ErrorIs(t, call(ctx), context.Canceled, name)
		}
		for _, durability := range []client.Durability{client.Async, client.Logged, client.Committed} {
			err := s.st.SaveStep(client.ContextWithDurability(ctx, durability), run, 1, "", State{})
			require.ErrorIs(t, err, context.Canceled)
		}
		requireNoRun(t, s.st, run)
		timed, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
		defer cancel()
		require.ErrorIs(t, s.st.SaveStep(timed, run, 1, "", State{}), context.DeadlineExceeded)
		requireNoRun(t, s.st, run)
	}},
	{"every error says what was to be done", func(t *testing.T, s *suite) {
		st := s.opener(t, Settings{})
		require.NoError(t, st.Close())
		for name, call := range calls(st) {
			var typed *client.Error
			require.ErrorAs(t, call(t.Context()), &typed, name)
			require.NotEmpty(t, typed.Op, name)
		}
	}},
}
