package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// watched is what a watch showed.
type watched struct {
	step client.Step[State]
	err  error
}

// watch watches until the returned function is called, which returns when the watch has ended.
func watch(t *testing.T, st client.Store[State], run string, from int) (shown <-chan watched, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ch, ended := make(chan watched, 1<<16), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(ch)
		for step, err := range st.WatchRun(ctx, run, from) {
			ch <- watched{step, err}
		}
	}()
	stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(stop)
	return ch, stop
}

func (s *suite) requireShown(t *testing.T, shown <-chan watched, step int, n int64) client.Step[State] {
	t.Helper()
	select {
	case w, ok := <-shown:
		require.True(t, ok, "the watch ended")
		require.NoError(t, w.err)
		require.Equal(t, step, w.step.Step)
		require.Equal(t, n, w.step.State.N)
		return w.step
	case <-time.After(s.patience):
		require.FailNow(t, "a step is not shown", "%d", step)
	}
	return client.Step[State]{}
}

var watches = []sentence{
	{"a watch shows what is there, then each step as it is saved by whomever", func(t *testing.T, s *suite) {
		run, b := unique("run"), s.another(t)
		saveSteps(t, s.st, run, 3)
		shown, stop := watch(t, b, run, 0)
		for n := 1; n <= 3; n++ {
			got := s.requireShown(t, shown, n, int64(n))
			require.Equal(t, node(n), got.NodeID)
			require.False(t, got.SavedAt.IsZero())
		}
		for n := 4; n <= 8; n++ {
			save(t, []client.Store[State]{s.st, b}[n%2], run, n, State{N: int64(n)})
			s.requireShown(t, shown, n, int64(n))
		}
		stop()
		_, more := <-shown
		require.False(t, more, "it ended without an error, and showed nothing twice")
	}},
	{"a watch of a run that is not there waits for it", func(t *testing.T, s *suite) {
		run := unique("run")
		shown, _ := watch(t, s.st, run, 0)
		save(t, s.st, run, 1, State{N: 1})
		s.requireShown(t, shown, 1, 1)
	}},
	{"a watch may begin at any step", func(t *testing.T, s *suite) {
		run := unique("run")
		saveSteps(t, s.st, run, 4)
		shown, _ := watch(t, s.st, run, 3)
		s.requireShown(t, shown, 3, 3)
		s.requireShown(t, shown, 4, 4)
		save(t, s.st, run, 2, State{N: 22})
		save(t, s.st, run, 3, State{N: 33})
		s.requireShown(t, shown, 3, 33)
	}},
	{"a step that is saved again is shown again", func(t *testing.T, s *suite) {
		run := unique("run")
		save(t, s.st, run, 1, State{N: 1})
		save(t, s.st, run, 2, State{N: 2})
		shown, _ := watch(t, s.st, run, 0)
		s.requireShown(t, shown, 1, 1)
		s.requireShown(t, shown, 2, 2)
		for n := int64(3); n < 6; n++ {
			save(t, s.st, run, 1, State{N: n})
			s.requireShown(t, shown, 1, n)
		}
	}},
	{"a watch shows steps in the order in which they were saved last", func(t *testing.T, s *suite) {
		run := unique("run")
		for _, step := range []int{1, 2, 3, 1} {
			require.NoError(t, s.st.SaveStep(committed(t), run, step, node(step), State{N: int64(step)}))
		}
		shown, _ := watch(t, s.st, run, 0)
		for _, step := range []int{2, 3, 1} {
			s.requireShown(t, shown, step, int64(step))
		}
	}},
	{"the steps of a transaction are shown, however many", func(t *testing.T, s *suite) {
		run, count := unique("run"), 2100
		shown, _ := watch(t, s.st, run, 0)
		saveSteps(t, s.st, run, count)
		for n := 1; n <= count; n++ {
			s.requireShown(t, shown, n, int64(n))
		}
		save(t, s.st, run, count+1, State{})
		s.requireShown(t, shown, count+1, 0)
	}},
	{"a watch has no gaps while workers save", func(t *testing.T, s *suite) {
		run, each, stores := unique("run"), 50*s.scale, []client.Store[State]{s.st, s.another(t), s.another(t)}
		shown, _ := watch(t, s.another(t), run, 0)
		saved := make(chan []error, 1)
		go func() {
			saved <- together(len(stores), func(w int) error {
				for n := range each {
					if err := stores[w].SaveStep(t.Context(), run, n*len(stores)+w, "", State{N: int64(w)}); err != nil {
						return err
					}
				}
				return nil
			})
		}()
		last, seen, over := map[int64]int{}, 0, time.After(2*s.patience)
		for seen < each*len(stores) {
			select {
			case w, ok := <-shown:
				require.True(t, ok)
				require.NoError(t, w.err)
				previous, later := last[w.step.State.N]
				require.True(t, !later && w.step.Step < len(stores) || later && w.step.Step == previous+len(stores),
					"worker %d: %d after %d", w.step.State.N, w.step.Step, previous)
				last[w.step.State.N] = w.step.Step
				seen++
			case <-over:
				require.FailNow(t, "steps are not shown", "%d of %d were", seen, each*len(stores))
			}
		}
		for _, err := range <-saved {
			require.NoError(t, err)
		}
	}},
	{"a watch ends when the caller leaves", func(t *testing.T, s *suite) {
		run := unique("run")
		saveSteps(t, s.st, run, 3)
		for step, err := range s.st.WatchRun(t.Context(), run, 0) {
			require.NoError(t, err)
			if step.Step == 2 {
				break
			}
		}
	}},
	{"the end of ctx is no error of a watch, however it ends", func(t *testing.T, s *suite) {
		run := unique("run")
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, failure(s.st.WatchRun(ended, run, 0)))
		timed, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.NoError(t, failure(s.st.WatchRun(timed, run, 0)))
		require.Error(t, timed.Err())
	}},
	{"a watch outlives the deadline of a call", func(t *testing.T, s *suite) {
		run, timeout := unique("run"), 500*time.Millisecond
		st := s.open(t, Settings{Timeout: timeout})
		shown, _ := watch(t, st, run, 0)
		started := time.Now()
		s.eventually(t, func(c *assert.CollectT) { require.Greater(c, time.Since(started), 3*timeout) })
		save(t, s.st, run, 1, State{N: 1})
		s.requireShown(t, shown, 1, 1)
	}},
	{"a watch of a run that was deleted goes on with the next one of that name", func(t *testing.T, s *suite) {
		run := unique("run")
		saveSteps(t, s.st, run, 2)
		shown, _ := watch(t, s.st, run, 0)
		s.requireShown(t, shown, 1, 1)
		s.requireShown(t, shown, 2, 2)
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		save(t, s.st, run, 1, State{N: 11})
		s.requireShown(t, shown, 1, 11)
	}},
	{"a watch shows every attempt's steps, and whose they are", func(t *testing.T, s *suite) {
		run := unique("run")
		save(t, s.st, run, 1, State{N: 1})
		shown, _ := watch(t, s.st, run, 0)
		require.Zero(t, s.requireShown(t, shown, 1, 1).Attempt)
		require.NoError(t, s.st.SaveStep(ofAttempt(t, 2), run, 1, "", State{N: 2}))
		require.Equal(t, 2, s.requireShown(t, shown, 1, 2).Attempt)
	}},
}
