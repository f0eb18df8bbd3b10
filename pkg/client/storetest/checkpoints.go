package storetest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var checkpoints = []sentence{
	{"a checkpoint is found by its name, with state and step", func(t *testing.T, s *suite) {
		id := unique("checkpoint")
		require.NoError(t, s.st.SaveCheckpoint(t.Context(), id, State{N: 7, Text: "x"}, 5))
		requireCheckpoint(t, s.st, id, 5, State{N: 7, Text: "x"})
	}},
	{"a name that was never used is not found", func(t *testing.T, s *suite) {
		got, step, err := s.st.LoadCheckpoint(t.Context(), unique("nobody"))
		require.ErrorIs(t, err, client.ErrNotFound)
		require.Zero(t, step)
		require.Zero(t, got)
	}},
	{"the same name again replaces the checkpoint, by whomever", func(t *testing.T, s *suite) {
		id, other := unique("checkpoint"), s.another(t)
		require.NoError(t, s.st.SaveCheckpoint(t.Context(), id, State{N: 1, Text: "x"}, 9))
		require.NoError(t, other.SaveCheckpoint(t.Context(), id, State{N: 2}, 3))
		requireCheckpoint(t, s.st, id, 3, State{N: 2})
	}},
	{"a worker sees at once the checkpoint that another one saved", func(t *testing.T, s *suite) {
		id, a, b := unique("checkpoint"), s.st, s.another(t)
		for step := range 10 {
			require.NoError(t, a.SaveCheckpoint(t.Context(), id, State{N: int64(step)}, step))
			requireCheckpoint(t, b, id, step, State{N: int64(step)})
			a, b = b, a
		}
	}},
	{"every durability saves checkpoints", func(t *testing.T, s *suite) {
		id := unique("checkpoint")
		for n, durability := range []client.Durability{client.Async, client.Logged, client.Committed} {
			ctx := client.ContextWithDurability(t.Context(), durability)
			require.NoError(t, s.st.SaveCheckpoint(ctx, id, State{N: int64(n)}, n))
			requireCheckpoint(t, s.st, id, n, State{N: int64(n)})
			require.NoError(t, s.st.Flush(t.Context()))
			requireCheckpoint(t, s.another(t), id, n, State{N: int64(n)})
		}
	}},
	{"a checkpoint's step is any number of 32 bits", func(t *testing.T, s *suite) {
		for _, step := range []int{math.MinInt32, -1, 0, math.MaxInt32} {
			id := unique("checkpoint")
			require.NoError(t, s.st.SaveCheckpoint(t.Context(), id, State{}, step))
			requireCheckpoint(t, s.st, id, step, State{})
		}
	}},
	{"a checkpoint is no step of the run of that name", func(t *testing.T, s *suite) {
		id := unique("both")
		require.NoError(t, s.st.SaveCheckpoint(t.Context(), id, State{N: 1}, 5))
		requireNoRun(t, s.st, id)
		save(t, s.st, id, 1, State{N: 2})
		requireLatest(t, s.st, id, 1, State{N: 2})
		requireCheckpoint(t, s.st, id, 5, State{N: 1})
	}},
	{"a checkpoint that a transaction saved is replaced by a later one, and the other way round", func(t *testing.T, s *suite) {
		id, run, other := unique("checkpoint"), unique("run"), s.another(t)
		inTransaction := func(n int) {
			require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
				require.NoError(t, tx.SaveStep(run, n, "", State{}))
				return tx.SaveCheckpoint(id, State{N: int64(n)}, n)
			}))
		}
		for n := 0; n < 6; n += 2 {
			inTransaction(n)
			requireCheckpoint(t, other, id, n, State{N: int64(n)})
			require.NoError(t, other.SaveCheckpoint(t.Context(), id, State{N: int64(n + 1)}, n+1))
			requireCheckpoint(t, s.st, id, n+1, State{N: int64(n + 1)})
		}
	}},
}

func requireCheckpoint(t *testing.T, st client.Store[State], id string, step int, state State) {
	t.Helper()
	got, n, err := st.LoadCheckpoint(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, step, n)
	requireState(t, state, got)
}
