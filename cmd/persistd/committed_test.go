package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/pkg/client"
)

// deaf is a reader that hears of no commit.
func deaf(r *readpath.Reader) { r.Positions = position.NewTracker(r.Partitions) }

// trusting is a reader that asks the database for no position: it hears of a commit, or waits.
func trusting(r *readpath.Reader) { r.Recheck = time.Hour }

// savedWhenItReturns has workers save n steps each, from the step first on, and look for each one's row.
func (s *stack) savedWhenItReturns(st client.Store[json.RawMessage], workers, first, n int) error {
	s.t.Helper()
	var all errgroup.Group
	for worker := range workers {
		all.Go(func() error {
			run := fmt.Sprintf("run-%d", worker)
			for step := first; step < first+n; step++ {
				if err := st.SaveStep(s.t.Context(), run, step, "n", json.RawMessage(`{}`)); err != nil {
					return err
				}
				if s.rows("run_id = ? AND step = ?", run, step) != 1 {
					return fmt.Errorf("step %d of %s has no row", step, run)
				}
			}
			return nil
		})
	}
	return all.Wait()
}

func TestACommittedStepHasItsRowWhenSaveStepReturns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		reads func(*readpath.Reader)
	}{
		{"by announcements alone", trusting},
		{"by the database alone, when announcements are lost", deaf},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			s.serveHere(hooks{store: slow(4).store, reads: row.reads})
			st := s.open(client.WithDurability(client.Committed))
			require.NoError(t, s.savedWhenItReturns(st, 16, 0, 3))
		})
	}
}

// A client with many waiting hears of their commits; and what it hears is true.
func TestManyCommittedStepsHaveTheirRowsWhenSaveStepReturns(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	st := s.open(client.WithDurability(client.Committed))
	const workers = 32
	asked := func() float64 {
		return s.metrics(d)[`persistd_request_duration_seconds_count{result="ok",verb="committed"}`]
	}
	var before float64
	for round, heard := 0, false; !heard; round++ {
		require.Less(t, round, 1000, "each asks")
		before = asked()
		require.NoError(t, s.savedWhenItReturns(st, workers, 2*round, 2))
		require.Positive(t, asked(), "the first did not know of anybody's commits")
		heard = asked()-before < workers
	}
}

func TestACommittedStepIsWaitedForAsLongAsItTakes(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	g := newGate(t)
	s.serveHere(g.hooks())
	st := s.open(client.WithDurability(client.Committed))
	err := s.whileWaiting(func(ctx context.Context) error { return st.SaveStep(ctx, "run", 1, "n", json.RawMessage(`{}`)) })
	require.ErrorIs(t, err, client.ErrNotCommitted)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, client.ErrOutcomeUnknown, "it is in the log")

	saved := make(chan error, 1)
	go func() { saved <- st.SaveStep(t.Context(), "run", 2, "n", json.RawMessage(`{}`)) }()
	s.eventually("second step is in the log", func() bool {
		_, step, err := st.LoadLatest(t.Context(), "run")
		return err == nil && step == 2
	})
	require.Zero(t, s.rows("TRUE"))
	require.Empty(t, saved)
	g.open()
	require.NoError(t, <-saved)
	require.Equal(t, 2, s.rows("TRUE"))
}

// A step that the log takes and the database refuses: what its writer waits for is never going to come.
func TestACommittedStepThatBecomesADeadLetterIsRejected(t *testing.T) {
	t.Parallel()
	state := strings.Repeat("[", 32) + strings.Repeat("]", 32)
	if stacktest.Engine(t) == devstack.MySQL {
		state = `1e309`
	}
	for _, row := range []struct {
		name  string
		reads func(*readpath.Reader)
	}{
		{"by announcements alone", trusting},
		{"by the dead letters, when announcements are lost", deaf},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := sharedStack(t)
			s.serveHere(hooks{reads: row.reads})
			st := s.open(client.WithDurability(client.Committed), client.WithMaxDepth(100))
			err := st.SaveStep(t.Context(), "run", 1, "n", json.RawMessage(state))
			require.ErrorIs(t, err, client.ErrRejected)
			require.ErrorContains(t, err, "refused_by_db")
			require.NoError(t, st.SaveStep(t.Context(), "run", 2, "n", json.RawMessage(`{}`)))
			require.Equal(t, 1, s.rows("TRUE"))
		})
	}
}

func TestAReplicaThatOwnsNothingAnswersEverything(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	g := newGate(t)
	const one = "PERSISTD_STREAM_PARTITIONS=1" // of which there is nothing to share
	owner := s.serveHere(g.hooks(), "PERSISTD_INSTANCE=owner", one)
	s.eventually("owner has the partition", func() bool { return s.owned("owner") == 1 })
	var cases readCases
	other := s.serveHere(cases.count(hooks{reads: trusting}), "PERSISTD_INSTANCE=other", one)
	require.NoError(t, owner.service.Stop(t.Context()), "from now on only the other one answers")
	st := s.open()

	const runs = 40
	save := func(step int, d client.Durability) {
		var all errgroup.Group
		for i := range runs {
			all.Go(func() error {
				return st.SaveStep(client.ContextWithDurability(t.Context(), d), fmt.Sprintf("run-%d", i), step, "n", json.RawMessage(`{}`))
			})
		}
		require.NoError(t, all.Wait())
	}
	requireStep := func(want int) {
		for i := range runs {
			_, step, err := st.LoadLatest(t.Context(), fmt.Sprintf("run-%d", i))
			require.NoError(t, err)
			require.Equal(t, want, step)
		}
	}
	save(1, client.Logged)
	requireStep(1)
	require.EqualValues(t, runs, cases.tail.Load(), "nothing is committed, so all came from the log")
	g.open()
	save(2, client.Committed)
	require.Equal(t, 2*runs, s.rows("TRUE"))
	requireStep(2)
	require.EqualValues(t, runs, cases.row.Load(), "the owner announced how far it is, so the log was not asked for what MySQL has")
	for _, p := range other.set.Status() {
		require.Equal(t, partition.Waiting, p.State)
	}
}
