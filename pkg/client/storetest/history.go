package storetest

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var history = []sentence{
	{"steps come by rising number, with node, state and when they were saved", func(t *testing.T, s *suite) {
		run, before := unique("run"), time.Now()
		for _, step := range []int{3, 1, 2} {
			save(t, s.st, run, step, State{N: int64(step)})
		}
		list := all(t, s.another(t).Steps(t.Context(), run, 0, 0))
		require.Len(t, list, 3)
		for n, step := range list {
			require.Equal(t, n+1, step.Step)
			require.Equal(t, node(n+1), step.NodeID)
			require.Equal(t, int64(n+1), step.State.N)
			require.Zero(t, step.Attempt)
			require.Equal(t, time.UTC, step.SavedAt.Location())
			require.WithinRange(t, step.SavedAt, before.Add(-time.Minute), time.Now().Add(time.Minute))
		}
	}},
	{"steps are seen as soon as they are acknowledged, and wait for MySQL", func(t *testing.T, s *suite) {
		run, b := unique("run"), s.another(t)
		for n := range 10 {
			save(t, s.st, run, n, State{N: int64(n)})
			require.Len(t, all(t, b.Steps(t.Context(), run, 0, 0)), n+1)
			got, err := b.GetStep(t.Context(), run, n)
			require.NoError(t, err)
			require.Equal(t, int64(n), got.State.N)
		}
	}},
	{"steps may begin anywhere and be limited", func(t *testing.T, s *suite) {
		run := unique("run")
		for n := -5; n <= 5; n++ {
			save(t, s.st, run, 2*n, State{})
		}
		for _, row := range []struct {
			from, limit int
			want        []int
		}{
			{0, 0, []int{0, 2, 4, 6, 8, 10}},
			{1, 2, []int{2, 4}},
			{-4, 3, []int{-4, -2, 0}},
			{math.MinInt32, 1, []int{-10}},
			{10, 5, []int{10}},
			{11, 0, nil},
			{math.MaxInt32, 0, nil},
			{8, -1, []int{8, 10}},
			{0, 6, []int{0, 2, 4, 6, 8, 10}},
			{0, math.MaxInt, []int{0, 2, 4, 6, 8, 10}},
		} {
			var got []int
			for _, step := range all(t, s.st.Steps(t.Context(), run, row.from, row.limit)) {
				got = append(got, step.Step)
			}
			require.Equal(t, row.want, got, "from %d, limit %d", row.from, row.limit)
		}
	}},
	{"there is no end to how many steps are listed", func(t *testing.T, s *suite) {
		run, count := unique("run"), 2500*s.scale
		saveSteps(t, s.st, run, count)
		list := all(t, s.st.Steps(t.Context(), run, 0, 0))
		require.Len(t, list, count)
		for n, step := range list {
			require.Equal(t, n+1, step.Step)
		}
		require.Len(t, all(t, s.st.Steps(t.Context(), run, 5, count-10)), count-10)
	}},
	{"large steps are listed all the same", func(t *testing.T, s *suite) {
		run, text := unique("run"), noise(400<<10)
		for n := range 6 {
			save(t, s.st, run, n, State{N: int64(n), Text: text[n:]})
		}
		list := all(t, s.st.Steps(t.Context(), run, 0, 0))
		require.Len(t, list, 6)
		for n, step := range list {
			require.Equal(t, text[n:], step.State.Text)
		}
	}},
	{"whoever has seen enough may leave", func(t *testing.T, s *suite) {
		run, seen := unique("run"), 0
		saveSteps(t, s.st, run, 10)
		for _, err := range s.st.Steps(t.Context(), run, 0, 0) {
			require.NoError(t, err)
			if seen++; seen == 3 {
				break
			}
		}
		require.Equal(t, 3, seen)
	}},
	{"an iterator that is used again begins again", func(t *testing.T, s *suite) {
		run := unique("run")
		saveSteps(t, s.st, run, 1500)
		for _, limit := range []int{0, 3, 1200} {
			list, want := s.st.Steps(t.Context(), run, 2, limit), min(limit, 1499)
			if limit == 0 {
				want = 1499
			}
			for range 2 {
				steps := all(t, list)
				require.Len(t, steps, want)
				require.Equal(t, 2, steps[0].Step)
			}
		}
	}},
	{"a run that is not there has no steps", func(t *testing.T, s *suite) {
		require.Empty(t, all(t, s.st.Steps(t.Context(), unique("run"), 0, 0)))
		_, err := s.st.GetStep(t.Context(), unique("run"), 1)
		require.ErrorIs(t, err, client.ErrNotFound)
	}},
	{"GetStep gets that step and no other", func(t *testing.T, s *suite) {
		run := unique("run")
		save(t, s.st, run, 1, State{N: 1})
		save(t, s.st, run, 3, State{N: 3})
		got, err := s.st.GetStep(t.Context(), run, 3)
		require.NoError(t, err)
		require.Equal(t, 3, got.Step)
		require.Equal(t, node(3), got.NodeID)
		require.Equal(t, int64(3), got.State.N)
		for _, step := range []int{0, 2, 4, math.MaxInt32} {
			got, err = s.st.GetStep(t.Context(), run, step)
			require.ErrorIs(t, err, client.ErrNotFound)
			require.Zero(t, got)
		}
	}},
	{"a step that is saved again keeps when it was saved first", func(t *testing.T, s *suite) {
		run := unique("run")
		save(t, s.st, run, 1, State{N: 1})
		first, err := s.st.GetStep(t.Context(), run, 1)
		require.NoError(t, err)
		save(t, s.st, run, 1, State{N: 2})
		again, err := s.st.GetStep(t.Context(), run, 1)
		require.NoError(t, err)
		require.Equal(t, int64(2), again.State.N)
		require.Equal(t, first.SavedAt, again.SavedAt)
	}},
}
