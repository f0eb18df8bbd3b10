package storetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

var runs = []sentence{
	{"runs are listed in the order of their ids, with what is known of them", func(t *testing.T, s *suite) {
		prefix, before := unique("list")+"/", time.Now()
		for _, id := range []string{"b", "a", "é", "B", "c", "😀", "z", "\uffff"} {
			saveCommitted(t, s.st, prefix+id, 1, State{})
			saveCommitted(t, s.st, prefix+id, 7, State{})
		}
		listed := s.list(t, client.RunFilter{Prefix: prefix}, 8)
		require.Equal(t, []string{"B", "a", "b", "c", "z", "é", "\uffff", "😀"}, idsOfRuns(listed, prefix))
		for _, run := range listed {
			require.Equal(t, 7, run.LastStep)
			require.Equal(t, node(7), run.NodeID)
			require.Zero(t, run.Attempt)
			require.Equal(t, time.UTC, run.UpdatedAt.Location())
			require.WithinRange(t, run.UpdatedAt, before.Add(-time.Minute), time.Now().Add(time.Minute))
		}
	}},
	{"ids that go on with a control character are listed once, and a listing goes on behind each", func(t *testing.T, s *suite) {
		prefix := unique("list") + "/"
		ids := []string{"a", "a\t", "a b", "a\x00", "a!"}
		for _, id := range ids {
			saveCommitted(t, s.st, prefix+id, 1, State{})
		}
		listed := idsOfRuns(s.list(t, client.RunFilter{Prefix: prefix}, 5), prefix)
		require.ElementsMatch(t, ids, listed) // a database may have them before what they go on from
		for i, id := range listed {
			rest := idsOfRuns(s.list(t, client.RunFilter{Prefix: prefix, After: prefix + id}, 4-i), prefix)
			require.Equal(t, append([]string(nil), listed[i+1:]...), append([]string(nil), rest...))
		}
	}},
	{"a prefix is what ids begin with, to the letter", func(t *testing.T, s *suite) {
		base := unique("list")
		for _, id := range []string{"a%b", "axb", "a_b", `a\b`, "A%b", "a", "a%", "á%b", "a b", "a%b%c"} {
			saveCommitted(t, s.st, base+id, 1, State{})
		}
		for prefix, want := range map[string][]string{
			"a%":   {"a%", "a%b", "a%b%c"},
			"a_":   {"a_b"},
			`a\`:   {`a\b`},
			"A":    {"A%b"},
			"a ":   {"a b"},
			"a%b%": {"a%b%c"},
			"á":    {"á%b"},
			"":     {"A%b", "a", "a b", "a%", "a%b", "a%b%c", `a\b`, "a_b", "axb", "á%b"},
		} {
			require.Equal(t, want, idsOfRuns(s.list(t, client.RunFilter{Prefix: base + prefix}, len(want)), base), prefix)
		}
		require.Empty(t, all(t, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: base + "nobody"})))
	}},
	{"a listing goes on after an id, whether that is there or not", func(t *testing.T, s *suite) {
		prefix := unique("list") + "/"
		for _, id := range []string{"a", "c", "e", "g"} {
			saveCommitted(t, s.st, prefix+id, 1, State{})
		}
		s.list(t, client.RunFilter{Prefix: prefix}, 4)
		for after, want := range map[string][]string{"": {"a", "c", "e", "g"}, "a": {"c", "e", "g"}, "d": {"e", "g"}, "g": nil, "z": nil} {
			got := all(t, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix, After: prefix + after}))
			require.Equal(t, want, idsOfRuns(got, prefix), after)
		}
		got := all(t, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix, After: prefix + "a", Limit: 2}))
		require.Equal(t, []string{"c", "e"}, idsOfRuns(got, prefix))
		require.Empty(t, all(t, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix, After: strings.Repeat("\U0010ffff", 255)})))
	}},
	{"limit is how many runs at most", func(t *testing.T, s *suite) {
		prefix := unique("list") + "/"
		for _, id := range []string{"a", "b", "c"} {
			saveCommitted(t, s.st, prefix+id, 1, State{})
		}
		s.list(t, client.RunFilter{Prefix: prefix}, 3)
		for limit, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5000: 3, 0: 3, -1: 3} {
			require.Len(t, all(t, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix, Limit: limit})), want)
		}
		for _, err := range s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix}) {
			require.NoError(t, err)
			break
		}
	}},
	{"runs whose last step was saved before are left out, others are not", func(t *testing.T, s *suite) {
		ctx, prefix := t.Context(), unique("list")+"/"
		saveCommitted(t, s.st, prefix+"old", 1, State{})
		old := s.list(t, client.RunFilter{Prefix: prefix}, 1)[0]
		s.eventually(t, func(c *assert.CollectT) { // a clock may be coarse
			require.NoError(c, s.st.SaveStep(t.Context(), prefix+"new", 1, "", State{}))
			runs := all(c, s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix + "new"}))
			require.Len(c, runs, 1)
			require.True(c, runs[0].UpdatedAt.After(old.UpdatedAt))
		})
		since := func(t require.TestingT, at time.Time) []string {
			return idsOfRuns(all(t, s.st.ListRuns(ctx, client.RunFilter{Prefix: prefix, UpdatedSince: at})), prefix)
		}
		require.Equal(t, []string{"new", "old"}, since(t, old.UpdatedAt))
		require.Equal(t, []string{"new", "old"}, since(t, old.UpdatedAt.Add(999*time.Nanosecond)), "what is kept is kept to the microsecond")
		require.Equal(t, []string{"new"}, since(t, old.UpdatedAt.Add(time.Microsecond)))
		require.Equal(t, []string{"new"}, since(t, old.UpdatedAt.Add(time.Microsecond).In(time.FixedZone("", -7*3600))))
		require.Empty(t, since(t, time.Now().Add(time.Hour)))
		saveCommitted(t, s.st, prefix+"old", 1, State{N: 2}) // again
		s.eventually(t, func(c *assert.CollectT) {
			require.Equal(c, []string{"new", "old"}, since(c, old.UpdatedAt.Add(time.Microsecond)))
		})
	}},
	{"a run without a step is not listed", func(t *testing.T, s *suite) {
		prefix := unique("list") + "/"
		require.NoError(t, s.st.SaveCheckpoint(t.Context(), prefix+"named", State{}, 1))
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: prefix + "v2"})
		_, err := s.st.BeginAttempt(t.Context(), prefix+"begun")
		require.NoError(t, err)
		saveCommitted(t, s.st, prefix+"z", 1, State{})
		require.Equal(t, []string{"z"}, idsOfRuns(s.list(t, client.RunFilter{Prefix: prefix}, 1), prefix))
	}},
	{"there is no end to how many runs are listed", func(t *testing.T, s *suite) {
		prefix, count := unique("list")+"/", 1100
		for _, err := range together(20, func(worker int) error {
			for n := worker; n < count; n += 20 {
				if err := s.st.SaveStep(t.Context(), prefix+noise(n + 60)[n:], n, "", State{}); err != nil {
					return err
				}
			}
			return nil
		}) {
			require.NoError(t, err)
		}
		ids := idsOfRuns(s.list(t, client.RunFilter{Prefix: prefix}, count), prefix)
		require.True(t, slices.IsSorted(ids))
		require.Len(t, slices.Compact(ids), count)
		listing := s.st.ListRuns(t.Context(), client.RunFilter{Prefix: prefix, Limit: count - 5})
		for range 2 { // it begins again when it is used again
			require.Equal(t, ids[:count-5], idsOfRuns(all(t, listing), prefix))
		}
	}},
	{"a prefix that no id has is refused", func(t *testing.T, s *suite) {
		require.ErrorIs(t, failure(s.st.ListRuns(t.Context(), client.RunFilter{Prefix: "a\xff"})), client.ErrInvalidID)
		require.ErrorIs(t, failure(s.st.ListRuns(t.Context(), client.RunFilter{After: "a\xff"})), client.ErrInvalidID)
	}},
}

// list waits until n runs are listed.
func (s *suite) list(t *testing.T, filter client.RunFilter, n int) []client.Run {
	t.Helper()
	var listed []client.Run
	s.eventually(t, func(c *assert.CollectT) {
		listed = nil
		for run, err := range s.st.ListRuns(t.Context(), filter) {
			require.NoError(c, err)
			listed = append(listed, run)
		}
		require.Len(c, listed, n)
	})
	return listed
}

// saveCommitted saves a step that is in the list when it returns.
func saveCommitted(t *testing.T, st client.Store[State], run string, step int, state State) {
	t.Helper()
	require.NoError(t, st.SaveStep(committed(t), run, step, node(step), state))
}

// idsOfRuns are the ids without what they begin with.
func idsOfRuns(runs []client.Run, prefix string) []string {
	var ids []string
	for _, run := range runs {
		ids = append(ids, strings.TrimPrefix(run.RunID, prefix))
	}
	return ids
}
