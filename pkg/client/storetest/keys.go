package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var keys = []sentence{
	{"a key is used when a checkpoint was saved with it, and not before", func(t *testing.T, s *suite) {
		key, b := unique("key"), s.another(t)
		requireUsed(t, s.st, key, false)
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: unique("run"), IdempotencyKey: key})
		requireUsed(t, s.st, key, true)
		requireUsed(t, b, key, true)
	}},
	{"the empty key guards nothing and was never used", func(t *testing.T, s *suite) {
		run := unique("run")
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, State: State{N: 1}})
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, State: State{N: 2}})
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: unique("run"), State: State{N: 3}})
		requireUsed(t, s.st, "", false)
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, int64(2), got.State.N)
	}},
	{"a key again with the same content is success, and nothing changes", func(t *testing.T, s *suite) {
		saved := full()
		saveV2(t, s.st, saved)
		again := saved
		again.Timestamp = noon.Add(time.Hour)
		saveV2(t, s.another(t), again)
		got, err := s.st.LoadCheckpointV2(t.Context(), saved.RunID, saved.StepID)
		require.NoError(t, err)
		requireV2(t, saved, got)
	}},
	{"a save that may have happened and was overtaken does not happen again", func(t *testing.T, s *suite) {
		first := full()
		saveV2(t, s.st, first)
		second := first
		second.State.N, second.IdempotencyKey = 99, unique("key")
		saveV2(t, s.st, second)
		saveV2(t, s.st, first)
		got, err := s.st.LoadCheckpointV2(t.Context(), first.RunID, first.StepID)
		require.NoError(t, err)
		requireV2(t, second, got)
	}},
	{"a key again with other content is ErrDuplicate, whatever differs, and nothing changes", func(t *testing.T, s *suite) {
		saved, b := full(), s.another(t)
		saveV2(t, s.st, saved)
		for name, change := range map[string]func(cp *client.CheckpointV2[State]){
			"the run":             func(cp *client.CheckpointV2[State]) { cp.RunID = unique("run") },
			"the step":            func(cp *client.CheckpointV2[State]) { cp.StepID++ },
			"the state":           func(cp *client.CheckpointV2[State]) { cp.State.Text = "other" },
			"one bit of a number": func(cp *client.CheckpointV2[State]) { cp.State.N-- },
			"the frontier":        func(cp *client.CheckpointV2[State]) { cp.Frontier = []any{"b", "a"} },
			"the recorded I/O":    func(cp *client.CheckpointV2[State]) { cp.RecordedIOs = nil },
			"the seed":            func(cp *client.CheckpointV2[State]) { cp.RNGSeed-- },
			"the label":           func(cp *client.CheckpointV2[State]) { cp.Label = "" },
		} {
			other := saved
			change(&other)
			err := b.SaveCheckpointV2(t.Context(), other)
			require.ErrorIs(t, err, client.ErrDuplicate, name)
			got, err := b.LoadCheckpointV2(t.Context(), saved.RunID, saved.StepID)
			require.NoError(t, err)
			requireV2(t, saved, got)
			require.Len(t, all(t, b.ListCheckpointsV2(t.Context(), saved.RunID)), 1, name)
			if other.RunID != saved.RunID {
				require.Empty(t, all(t, b.ListCheckpointsV2(t.Context(), other.RunID)))
			}
		}
	}},
	{"a checkpoint saved again with another key leaves the first key used", func(t *testing.T, s *suite) {
		first := full()
		saveV2(t, s.st, first)
		second := first
		second.IdempotencyKey = unique("key")
		saveV2(t, s.st, second)
		requireUsed(t, s.st, first.IdempotencyKey, true)
		requireUsed(t, s.st, second.IdempotencyKey, true)
		third := first
		third.IdempotencyKey = ""
		saveV2(t, s.st, third)
		requireUsed(t, s.st, first.IdempotencyKey, true)
	}},
	{"of workers who race for a key with different content one wins", func(t *testing.T, s *suite) {
		stores := []client.Store[State]{s.st, s.another(t)}
		run, key := unique("run"), unique("key")
		errs := together(10*s.scale, func(n int) error {
			return stores[n%2].SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run, StepID: n, State: State{N: int64(n)}, IdempotencyKey: key})
		})
		winner := -1
		for n, err := range errs {
			if err == nil {
				require.Equal(t, -1, winner, "two won")
				winner = n
			} else {
				require.ErrorIs(t, err, client.ErrDuplicate)
			}
		}
		list := all(t, s.st.ListCheckpointsV2(t.Context(), run))
		require.Len(t, list, 1)
		require.Equal(t, winner, list[0].StepID)
		require.Equal(t, int64(winner), list[0].State.N)
	}},
	{"of runs that race for a key one wins", func(t *testing.T, s *suite) {
		key, prefix := unique("key"), unique("run")
		run := func(n int) string { return prefix + string(rune('a'+n)) }
		errs := together(10, func(n int) error {
			return s.st.SaveCheckpointV2(t.Context(), client.CheckpointV2[State]{RunID: run(n), IdempotencyKey: key})
		})
		won := 0
		for n, err := range errs {
			list := all(t, s.st.ListCheckpointsV2(t.Context(), run(n)))
			if err == nil {
				won++
				require.Len(t, list, 1)
			} else {
				require.ErrorIs(t, err, client.ErrDuplicate)
				require.Empty(t, list)
			}
		}
		require.Equal(t, 1, won)
	}},
	{"workers who race for a key with the same content all succeed", func(t *testing.T, s *suite) {
		stores, saved := []client.Store[State]{s.st, s.another(t)}, full()
		for _, err := range together(10*s.scale, func(n int) error { return stores[n%2].SaveCheckpointV2(t.Context(), saved) }) {
			require.NoError(t, err)
		}
		require.Len(t, all(t, s.st.ListCheckpointsV2(t.Context(), saved.RunID)), 1)
	}},
	{"a key guards the whole transaction", func(t *testing.T, s *suite) {
		saved, named := full(), unique("checkpoint")
		work := func(n int64) error {
			return s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
				return errors.Join(tx.SaveStep(saved.RunID, 1, "", State{N: n}), tx.SaveCheckpoint(named, State{N: n}, 1), tx.SaveCheckpointV2(saved))
			})
		}
		require.NoError(t, work(1))
		save(t, s.st, saved.RunID, 1, State{N: 2})
		require.NoError(t, work(1), "it was done")
		requireLatest(t, s.st, saved.RunID, 1, State{N: 2})
		require.ErrorIs(t, work(3), client.ErrDuplicate)
		requireLatest(t, s.st, saved.RunID, 1, State{N: 2})
		requireCheckpoint(t, s.st, named, 1, State{N: 1})
	}},
	{"a transaction with one key that was used leaves its others unused", func(t *testing.T, s *suite) {
		used := full()
		saveV2(t, s.st, used)
		fresh, run := unique("key"), unique("run")
		err := s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			return errors.Join(tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, StepID: 1, IdempotencyKey: fresh}),
				tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, StepID: 2, IdempotencyKey: used.IdempotencyKey}))
		})
		require.ErrorIs(t, err, client.ErrDuplicate)
		requireUsed(t, s.st, fresh, false)
		require.Empty(t, all(t, s.st.ListCheckpointsV2(t.Context(), run)))
	}},
	{"a transaction may have several keys, and is done when it comes again", func(t *testing.T, s *suite) {
		run, one, two := unique("run"), unique("key"), unique("key")
		for range 2 {
			require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
				return errors.Join(tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, StepID: 1, IdempotencyKey: one}),
					tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, StepID: 2, IdempotencyKey: two}))
			}))
		}
		requireUsed(t, s.st, one, true)
		requireUsed(t, s.st, two, true)
		require.Len(t, all(t, s.st.ListCheckpointsV2(t.Context(), run)), 2)
	}},
	{"a transaction that is refused uses no key", func(t *testing.T, s *suite) {
		run, key, mine := unique("run"), unique("key"), errors.New("mine")
		err := s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			require.NoError(t, tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, IdempotencyKey: key}))
			return mine
		})
		require.ErrorIs(t, err, mine)
		requireUsed(t, s.st, key, false)
		_, err = s.st.BeginAttempt(t.Context(), run)
		require.NoError(t, err)
		err = s.st.SaveCheckpointV2(client.ContextWithAttempt(t.Context(), 0), client.CheckpointV2[State]{RunID: run, IdempotencyKey: key})
		require.ErrorIs(t, err, client.ErrStaleAttempt)
		requireUsed(t, s.st, key, false)
	}},
}

// full is a checkpoint that has everything.
func full() client.CheckpointV2[State] {
	return client.CheckpointV2[State]{
		RunID: unique("run"), StepID: 3, State: State{N: 1<<53 + 1, Text: "x", Tags: map[string]string{"b": "1", "a": "2"}}, Frontier: []any{"a", "b"},
		RecordedIOs: map[string]any{"b": 1.0, "a": 2.0}, RNGSeed: 1<<53 + 1, IdempotencyKey: unique("key"), Timestamp: noon, Label: "label",
	}
}

func requireUsed(t *testing.T, st client.Store[State], key string, used bool) {
	t.Helper()
	got, err := st.CheckIdempotency(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, used, got)
}

// together runs n calls at once and returns their errors.
func together(n int, call func(n int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}
