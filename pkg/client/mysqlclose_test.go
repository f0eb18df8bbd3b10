package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

func TestAClosedMySQLStoreAnswersNothing(t *testing.T) {
	t.Parallel()
	st := mysqlStore(t, stacktest.Database(t))
	ctx := t.Context()
	require.NoError(t, st.SaveStep(ctx, "run", 1, "n", state{}))
	watch := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		for _, err := range st.WatchRun(ctx, "run", 0) {
			if err != nil {
				watch <- err
				return
			}
			close(started)
		}
	}()
	<-started
	require.NoError(t, st.Close())
	require.NoError(t, st.Close(), "it is idempotent")
	select {
	case err := <-watch:
		require.ErrorIs(t, err, client.ErrClosed)
	case <-time.After(eventually):
		t.Fatal("a watch goes on")
	}
	first := func(seq func(yield func(client.Step[state], error) bool)) (err error) {
		for _, err = range seq {
			break
		}
		return err
	}
	for name, call := range map[string]func() error{
		"SaveStep":           func() error { return st.SaveStep(ctx, "run", 1, "n", state{}) },
		"SaveStepBatch":      func() error { return st.SaveStepBatch(ctx, "run", []client.Step[state]{{}}) },
		"LoadLatest":         func() error { _, _, err := st.LoadLatest(ctx, "run"); return err },
		"SaveCheckpoint":     func() error { return st.SaveCheckpoint(ctx, "c", state{}, 1) },
		"LoadCheckpoint":     func() error { _, _, err := st.LoadCheckpoint(ctx, "c"); return err },
		"SaveCheckpointV2":   func() error { return st.SaveCheckpointV2(ctx, v2Checkpoint("run", 1, "", 1)) },
		"LoadCheckpointV2":   func() error { _, err := st.LoadCheckpointV2(ctx, "run", 1); return err },
		"ByLabel":            func() error { _, err := st.LoadCheckpointV2ByLabel(ctx, "run", "l"); return err },
		"LatestCheckpointV2": func() error { _, err := st.LoadLatestCheckpointV2(ctx, "run"); return err },
		"CheckIdempotency":   func() error { _, err := st.CheckIdempotency(ctx, "key"); return err },
		"PendingEvents":      func() error { _, err := st.PendingEvents(ctx, 1); return err },
		"MarkEventsEmitted":  func() error { return st.MarkEventsEmitted(ctx, []string{"e"}) },
		"Steps":              func() error { return first(st.Steps(ctx, "run", 0, 0)) },
		"GetStep":            func() error { _, err := st.GetStep(ctx, "run", 1); return err },
		"WatchRun":           func() error { return first(st.WatchRun(ctx, "run", 0)) },
		"DeleteRun":          func() error { return st.DeleteRun(ctx, "run") },
		"CopyRun":            func() error { return st.CopyRun(ctx, "run", 1, "copy") },
		"BeginAttempt":       func() error { _, err := st.BeginAttempt(ctx, "run"); return err },
		"Flush":              func() error { return st.Flush(ctx) },
		"Ping":               func() error { return st.Ping(ctx) },
		"WithTransaction": func() error {
			return st.WithTransaction(ctx, func(tx client.Tx[state]) error { return tx.SaveStep("run", 1, "n", state{}) })
		},
		"ListRuns": func() (err error) {
			for _, err = range st.ListRuns(ctx, client.RunFilter{}) {
				break
			}
			return err
		},
		"ListCheckpointsV2": func() (err error) {
			for _, err = range st.ListCheckpointsV2(ctx, "run") {
				break
			}
			return err
		},
	} {
		require.ErrorIs(t, call(), client.ErrClosed, name)
	}
	require.Zero(t, st.Stats().OpenConnections)
}

func TestCloseWaitsForWhatIsUnderWayAndThenEndsIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		timeout time.Duration
	}{{"it ends in time", eventually}, {"it does not", soon}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dsn := stacktest.Database(t)
			st, err := client.NewMySQLStore[state](dsn, client.WithCloseTimeout(tt.timeout))
			require.NoError(t, err)
			require.NoError(t, st.SaveStep(t.Context(), "run", 1, "n", state{}))
			release := lockStep(t, plainSQL(t, dsn))
			saved, closed := make(chan error, 1), make(chan error, 1)
			go func() { saved <- st.SaveStep(t.Context(), "run", 1, "n", state{N: 2}) }()
			require.Eventually(t, func() bool { return st.Stats().InUse == 1 }, eventually, poll)
			go func() { closed <- st.Close() }()
			require.Eventually(t, func() bool { return errors.Is(st.Ping(t.Context()), client.ErrClosed) }, eventually, poll)
			if tt.timeout == eventually {
				release()
				require.NoError(t, <-saved)
				require.NoError(t, <-closed)
				return
			}
			require.ErrorIs(t, <-saved, client.ErrClosed)
			require.EqualError(t, <-closed, "close store: 1 calls were still under way after 200ms, and were ended")
		})
	}
}

func TestAWatchOfOneMySQLStoreSeesWhatAnotherSaves(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	one := mysqlStore(t, dsn)
	two := mysqlStore(t, dsn, client.WithTimeout(2*time.Second)) // shorter than a watch may wait for news
	ctx, cancel := context.WithTimeout(t.Context(), eventually)
	defer cancel()
	seen := make(chan string)
	done := make(chan error, 1)
	go func() {
		defer close(seen)
		for s, err := range two.WatchRun(ctx, "run", 2) {
			if err != nil {
				done <- err
				return
			}
			seen <- fmt.Sprint(s.Step, "=", s.State.N)
		}
		done <- nil
	}()
	<-time.After(3 * time.Second) // no news is no error
	for i, step := range []int{1, 3, 2, 3} {
		require.NoError(t, one.SaveStep(ctx, "run", step, "n", state{N: i}))
		if step > 1 {
			require.Equal(t, fmt.Sprint(step, "=", i), <-seen)
		}
	}
	cancel()
	require.NoError(t, <-done)
	require.Empty(t, seen)
}

func TestAMySQLStoreGoesOnWhenItsServerComesBackAndSaysWhatTheServerDoesNotTake(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	st := mysqlStore(t, dsn)
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "n", state{N: 1}))
	server.Kill()
	for name, call := range map[string]func() error{
		"SaveStep":   func() error { return st.SaveStep(t.Context(), "run", 2, "n", state{}) },
		"LoadLatest": func() error { _, _, err := st.LoadLatest(t.Context(), "run"); return err },
		"Ping":       func() error { return st.Ping(t.Context()) },
	} {
		err := call()
		require.ErrorIs(t, err, client.ErrUnavailable, name)
		require.ErrorContains(t, err, "is the database running")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, server.Restart(ctx))
	got, step, err := st.LoadLatest(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, 1, step)
	require.Equal(t, 1, got.N)
	require.NoError(t, st.SaveStep(t.Context(), "run", 2, "n", state{}))

	execSQL(t, plainSQL(t, dsn), "SET GLOBAL max_allowed_packet=1048576")
	small := mysqlStore(t, dsn)
	err = small.SaveStep(t.Context(), "run", 3, "n", state{Text: strings.Repeat("x", 2<<20)})
	require.ErrorIs(t, err, client.ErrTooLarge)
	require.ErrorContains(t, err, "max_allowed_packet")
	require.NoError(t, small.SaveStep(t.Context(), "run", 3, "n", state{Text: strings.Repeat("x", 1<<19)}))
}

func TestWhatTheDatabaseRefusesForGoodIsRejected(t *testing.T) {
	t.Parallel()
	if dsn := stacktest.Database(t); stacktest.Engine(t) == devstack.MariaDB {
		st, err := client.NewMySQLStore[any](dsn, client.WithMaxDepth(100))
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		var deep any
		for range 40 {
			deep = []any{deep}
		}
		err = st.SaveStep(t.Context(), "run", 1, "n", deep)
		require.ErrorIs(t, err, client.ErrRejected)
		require.ErrorContains(t, err, "4025")
	} else {
		st, err := client.NewMySQLStore[map[string]any](dsn)
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		err = st.WithTransaction(t.Context(), func(tx client.Tx[map[string]any]) error {
			return tx.SaveStep("run", 1, "n", map[string]any{strings.Repeat("k", 1<<16): 1}) // a key of more than 64 KiB
		})
		require.ErrorIs(t, err, client.ErrRejected)
		require.ErrorContains(t, err, "3151")
	}
}
