package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var transactions = []sentence{
	{"a transaction's writes are there, of every kind, also for others", func(t *testing.T, s *suite) {
		run, named, b := unique("run"), unique("checkpoint"), s.another(t)
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			return errors.Join(tx.SaveStep(run, 1, "a", State{N: 1}), tx.SaveStep(run, 2, "b", State{N: 2}), tx.SaveCheckpoint(named, State{N: 3}, 2),
				tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, StepID: 2, State: State{N: 4}}))
		}))
		requireLatest(t, b, run, 2, State{N: 2})
		requireCheckpoint(t, b, named, 2, State{N: 3})
		got, err := b.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, int64(4), got.State.N)
		require.Len(t, all(t, b.Steps(t.Context(), run, 0, 0)), 2)
	}},
	{"a function that fails writes nothing, and its error is the transaction's", func(t *testing.T, s *suite) {
		run, named, mine := unique("run"), unique("checkpoint"), errors.New("mine")
		err := s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			require.NoError(t, tx.SaveStep(run, 1, "", State{}))
			require.NoError(t, tx.SaveCheckpoint(named, State{}, 1))
			require.NoError(t, tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run}))
			return mine
		})
		require.ErrorIs(t, err, mine)
		var typed *client.Error
		require.ErrorAs(t, err, &typed)
		requireNoRun(t, s.st, run)
		_, _, err = s.st.LoadCheckpoint(t.Context(), named)
		require.ErrorIs(t, err, client.ErrNotFound)
		require.Empty(t, all(t, s.st.ListCheckpointsV2(t.Context(), run)))
	}},
	{"a write that can never be dooms the transaction, whatever its function returns", func(t *testing.T, s *suite) {
		mine := errors.New("mine")
		for name, bad := range map[string]func(tx client.Tx[State]) error{
			"a step":                func(tx client.Tx[State]) error { return tx.SaveStep("trailing ", 1, "", State{}) },
			"a checkpoint":          func(tx client.Tx[State]) error { return tx.SaveCheckpoint("", State{}, 1) },
			"a V2 checkpoint":       func(tx client.Tx[State]) error { return tx.SaveCheckpointV2(client.CheckpointV2[State]{}) },
			"an event":              func(tx client.Tx[State]) error { return tx.SaveEvents(event("trailing ")) },
			"a V2 checkpoint's one": func(tx client.Tx[State]) error { return tx.SaveCheckpointV2(full(), client.WithEvents(event(""))) },
		} {
			for _, returned := range []error{nil, mine} {
				run := unique("run")
				err := s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
					require.ErrorIs(t, bad(tx), client.ErrInvalidID, name)
					require.NoError(t, ignore(tx.SaveStep(run, 1, "", State{})))
					return returned
				})
				require.ErrorIs(t, err, client.ErrInvalidID, name)
				if returned != nil {
					require.ErrorIs(t, err, returned)
				}
				requireNoRun(t, s.st, run)
			}
		}
	}},
	{"a transaction writes one run", func(t *testing.T, s *suite) {
		for name, second := range map[string]func(tx client.Tx[State], one, other string) error{
			"steps": func(tx client.Tx[State], _, other string) error { return tx.SaveStep(other, 1, "", State{}) },
			"V2 checkpoints": func(tx client.Tx[State], _, other string) error {
				return tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: other})
			},
			"events": func(tx client.Tx[State], _, other string) error { return tx.SaveEvents(client.Event{RunID: other}) },
			"a V2 checkpoint's events": func(tx client.Tx[State], one, other string) error {
				return tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: one}, client.WithEvents(client.Event{RunID: other}))
			},
		} {
			one, other := unique("run"), unique("run")
			err := s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
				require.NoError(t, tx.SaveStep(one, 1, "", State{}))
				require.ErrorIs(t, second(tx, one, other), client.ErrInvalidID, name)
				return nil
			})
			require.ErrorIs(t, err, client.ErrInvalidID, name)
			requireNoRun(t, s.st, one)
			requireNoRun(t, s.st, other)
		}
	}},
	{"events without a run need one beside them", func(t *testing.T, s *suite) {
		err := s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error { return tx.SaveEvents(client.Event{}) })
		require.ErrorIs(t, err, client.ErrInvalidID)
		err = s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			return errors.Join(tx.SaveCheckpoint(unique("checkpoint"), State{}, 1), tx.SaveEvents(client.Event{}))
		})
		require.ErrorIs(t, err, client.ErrInvalidID)
	}},
	{"a transaction of nothing is no error", func(t *testing.T, s *suite) {
		require.NoError(t, s.st.WithTransaction(t.Context(), func(client.Tx[State]) error { return nil }))
	}},
	{"a transaction may write named checkpoints alone", func(t *testing.T, s *suite) {
		one, two := unique("checkpoint"), unique("checkpoint")
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			return errors.Join(tx.SaveCheckpoint(one, State{N: 1}, 1), tx.SaveCheckpoint(two, State{N: 2}, 2))
		}))
		b := s.another(t)
		requireCheckpoint(t, b, one, 1, State{N: 1})
		requireCheckpoint(t, b, two, 2, State{N: 2})
	}},
	{"of two writes of a transaction to one place the later stands", func(t *testing.T, s *suite) {
		run, named := unique("run"), unique("checkpoint")
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			var errs []error
			for n := range 3 {
				errs = append(errs, tx.SaveStep(run, 1, "", State{N: int64(n)}), tx.SaveCheckpoint(named, State{N: int64(n)}, n),
					tx.SaveCheckpointV2(client.CheckpointV2[State]{RunID: run, State: State{N: int64(n)}}))
			}
			return errors.Join(errs...)
		}))
		requireLatest(t, s.st, run, 1, State{N: 2})
		requireCheckpoint(t, s.st, named, 2, State{N: 2})
		got, err := s.st.LoadLatestCheckpointV2(t.Context(), run)
		require.NoError(t, err)
		require.Equal(t, int64(2), got.State.N)
	}},
	{"the function runs once, and the state may be changed in it", func(t *testing.T, s *suite) {
		run, ran, state := unique("run"), 0, State{Tags: map[string]string{}}
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			ran++
			for n, tag := range []string{"a", "b", "c"} {
				state.Tags["is"] = tag
				require.NoError(t, tx.SaveStep(run, n, "", state))
			}
			return nil
		}))
		require.Equal(t, 1, ran)
		for n, step := range all(t, s.st.Steps(t.Context(), run, 0, 0)) {
			require.Equal(t, []string{"a", "b", "c"}[n], step.State.Tags["is"])
		}
	}},
	{"every durability takes transactions", func(t *testing.T, s *suite) {
		for _, ctx := range []context.Context{async(t), t.Context(), committed(t)} {
			run := unique("run")
			require.NoError(t, s.st.WithTransaction(ctx, func(tx client.Tx[State]) error {
				return errors.Join(tx.SaveStep(run, 1, "", State{N: 1}), tx.SaveStep(run, 2, "", State{N: 2}))
			}))
			requireLatest(t, s.st, run, 2, State{N: 2})
		}
	}},
	{"a transaction beyond a message of the log is there all or not at all", func(t *testing.T, s *suite) {
		run, count, text, b := unique("run"), 1200, noise(3000), s.another(t)
		done := make(chan error, 1)
		go func() {
			done <- s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
				for n := 1; n <= count; n++ {
					if err := tx.SaveStep(run, n, "", State{N: int64(n), Text: text[n:]}); err != nil {
						return err
					}
				}
				return nil
			})
		}()
		for looking := true; looking; {
			select {
			case err := <-done:
				require.NoError(t, err)
				looking = false
			default:
			}
			_, step, err := b.LoadLatest(t.Context(), run)
			if !errors.Is(err, client.ErrNotFound) {
				require.NoError(t, err)
				require.Equal(t, count, step)
			}
		}
		require.Len(t, all(t, b.Steps(t.Context(), run, 0, 0)), count)
		requireLatest(t, b, run, count, State{N: int64(count), Text: text[count:]})
	}},
	{"a large transaction overwrites all or nothing", func(t *testing.T, s *suite) {
		run, count, b := unique("run"), 1100, s.another(t)
		saveSteps(t, s.st, run, count)
		done := make(chan error, 1)
		go func() {
			var steps []client.Step[State]
			for n := 1; n <= count; n++ {
				steps = append(steps, client.Step[State]{Step: n, State: State{N: -1}})
			}
			done <- s.st.SaveStepBatch(t.Context(), run, steps)
		}()
		for looking := true; looking; {
			select {
			case err := <-done:
				require.NoError(t, err)
				looking = false
			default:
			}
			var before, after int
			for _, step := range all(t, b.Steps(t.Context(), run, 1, 100)) { // one page is of one moment
				if step.State.N < 0 {
					after++
				} else {
					before++
				}
			}
			require.True(t, before == 0 || after == 0, "%d before, %d after", before, after)
		}
	}},
	{"more writes than a transaction may hold are refused, and none is made", func(t *testing.T, s *suite) {
		run := unique("run")
		err := s.st.SaveStepBatch(t.Context(), run, numbered(1, 10_001))
		require.ErrorIs(t, err, client.ErrTooLarge)
		requireNoRun(t, s.st, run)
	}},
}

// ignore is for what may be refused already.
func ignore(error) error { return nil }
