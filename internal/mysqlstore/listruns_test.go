package mysqlstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// runs reads all pages of q.
func runs(t *testing.T, s *Store, q wire.RunsRequest) (all []wire.RunRecord, pages int) {
	t.Helper()
	for {
		page, err := s.Runs(t.Context(), q)
		require.NoError(t, err)
		all, pages = append(all, page.Runs...), pages+1
		if q.After = page.Next; q.After == "" {
			return all, pages
		}
	}
}

func runIDs(all []wire.RunRecord) (ids []string) {
	for _, r := range all {
		ids = append(ids, r.RunID)
	}
	return ids
}

func TestRunsTellTheirLatestStep(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for step := range 5 {
		putStep(t, look, "b", step, `1`, 0, 1, 1)
		putStep(t, look, "begun", step, `1`, 0, 1, 1)
		putStep(t, look, "repeated", step, `1`, 1, 1, 1)
	}
	putStep(t, look, "a", -1, `1`, 0, 1, 1)
	putStep(t, look, "repeated", 1, `1`, 2, 1, 2) // a newer attempt, which has not come as far
	putRun(t, look, "repeated", 3, 2)
	putRun(t, look, "begun", 1, 0)
	putRun(t, look, "deleted", 1, 0)
	exec(t, look, "UPDATE workflow_steps SET updated_at='2020-01-01 00:00:00.000001'")
	exec(t, look, "UPDATE workflow_steps SET updated_at='2021-01-01 00:00:00.000002' WHERE attempt=2")
	exec(t, look, "UPDATE workflow_steps SET updated_at=NULL, created_at='2019-01-01 00:00:00' WHERE run_id='a'") // from before there was updated_at

	all, pages := runs(t, s, wire.RunsRequest{})
	at := func(year, micro int) time.Time { return time.Date(year, 1, 1, 0, 0, 0, 1000*micro, time.UTC) }
	require.Equal(t, 1, pages)
	require.Equal(t, []wire.RunRecord{
		{RunID: "a", LastStep: -1, NodeID: "node-1", UpdatedAt: at(2019, 0)},
		{RunID: "b", LastStep: 4, NodeID: "node4", UpdatedAt: at(2020, 1)},
		{RunID: "begun", LastStep: 4, NodeID: "node4", UpdatedAt: at(2020, 1)},
		{RunID: "repeated", Attempt: 2, LastStep: 1, NodeID: "node1", UpdatedAt: at(2021, 2)},
	}, all)

	all, _ = runs(t, s, wire.RunsRequest{UpdatedSince: at(2020, 1), Limit: 1})
	require.Equal(t, []string{"b", "begun", "repeated"}, runIDs(all))
	all, _ = runs(t, s, wire.RunsRequest{UpdatedSince: at(2020, 2)})
	require.Equal(t, []string{"repeated"}, runIDs(all))
	all, _ = runs(t, s, wire.RunsRequest{After: "b", Limit: 1})
	require.Equal(t, []string{"begun", "repeated"}, runIDs(all))
}

func TestRunsAreThoseThatBeginWithThePrefixWhateverIsInIt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	ids := []string{
		"\t", "Run", "rum", "run", "run\x00", "run\t1", "run é", "run%", "run\\y", "run_x", "run\ud7ff", "run\ue000", "run\uffff", "run😀",
		"run\U0010ffff", "run\U0010ffffx", "ruo", "r n", "r", "😀", "\U0010ffff",
	}
	for i, id := range ids {
		putStep(t, look, id, i, `1`, 0, 1, 1)
	}
	for _, tt := range []struct {
		prefix string
		want   []string
	}{
		{"", ids},
		{"run", ids[3:16]},
		{"run%", []string{"run%"}},
		{"run_", []string{"run_x"}},
		{`run\`, []string{`run\y`}},
		{"run\t", []string{"run\t1"}},
		{"run\ud7ff", []string{"run\ud7ff"}},
		{"run\U0010ffff", []string{"run\U0010ffff", "run\U0010ffffx"}},
		{"\U0010ffff", []string{"\U0010ffff"}},
		{"run ", []string{"run é"}},
		{"R", []string{"Run"}},
		{"none", nil},
		{"run\xff", nil},
	} {
		for _, limit := range []int{0, 1, 2, 5} {
			all, _ := runs(t, s, wire.RunsRequest{Prefix: tt.prefix, Limit: limit})
			require.Equal(t, slices.Sorted(slices.Values(tt.want)), runIDs(all), "%q by %d", tt.prefix, limit)
		}
	}
}

func TestRunsComeInTheOrderOfTheirBytesInPagesOfAnySize(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	ids := map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	for len(ids) < 300 {
		var id string
		for range 1 + random.IntN(5) {
			id += []string{"a", "b", " ", "\t", "\x00", "é", "\x1f"}[random.IntN(7)]
		}
		if wire.CheckID(id) == nil {
			ids[id] = true
		}
	}
	for id := range ids {
		putStep(t, look, id, 1, `1`, 0, 1, 1)
	}
	want := slices.Sorted(maps.Keys(ids))
	for _, limit := range []int{1, 2, 3, 7, 100, 0} {
		all, _ := runs(t, s, wire.RunsRequest{Limit: limit})
		require.Equal(t, want, runIDs(all), "by %d", limit)
	}
	for range 200 {
		prefix, after := want[random.IntN(len(want))], want[random.IntN(len(want))]
		prefix = prefix[:random.IntN(min(3, len(prefix)))]
		var these []string
		for _, id := range want {
			if id > after && strings.HasPrefix(id, prefix) && utf8.ValidString(prefix) {
				these = append(these, id)
			}
		}
		all, _ := runs(t, s, wire.RunsRequest{Prefix: prefix, After: after, Limit: 1 + random.IntN(4)})
		require.Equal(t, these, runIDs(all), "%q after %q", prefix, after)
	}
}

func TestAPageOfRunsLooksAtAsManyAsItSays(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	q := "INSERT INTO workflow_steps (run_id, step, node_id, state, updated_at) VALUES "
	for i := range 2500 {
		if i > 0 {
			q += ","
		}
		q += fmt.Sprintf("('run%04d', 1, 'n', '1', '%d-01-01')", i, 2020+i/2499)
	}
	exec(t, look, q)
	page, err := s.Runs(t.Context(), wire.RunsRequest{Limit: 5000})
	require.NoError(t, err)
	require.Len(t, page.Runs, 1000)
	require.Equal(t, "run0999", page.Next)
	all, pages := runs(t, s, wire.RunsRequest{})
	require.Len(t, all, 2500)
	require.Equal(t, 3, pages)

	q2 := wire.RunsRequest{UpdatedSince: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), Limit: 1}
	page, err = s.Runs(t.Context(), q2)
	require.NoError(t, err)
	require.Equal(t, wire.RunsReply{Next: "run0999"}, page, "short, even empty, and not the last")
	all, _ = runs(t, s, q2)
	require.Equal(t, []string{"run2499"}, runIDs(all))
}

func TestRunsSkipFromRunToRunHoweverManyStepsTheyHave(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	for run := range 20 {
		q := "INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES "
		for step := range 300 {
			if step > 0 {
				q += ","
			}
			q += fmt.Sprintf("('run%02d', %d, 'n', '1')", run, step)
		}
		exec(t, look, q)
	}
	exec(t, look, "DO (SELECT COUNT(*) FROM workflow_steps)")
	s, cost := counting(t, dsn)
	least, most := 20, 70 // of each: its beginning, its end, its attempts, its row, and what was found of it, twice
	if stacktest.Engine(t) == devstack.MySQL {
		least, most = 71, 140 // it is asked twice
	}
	for _, q := range []wire.RunsRequest{{Limit: 10}, {Limit: 10, Prefix: "run"}, {Limit: 10, After: "run03"}} {
		c := cost(func() {
			page, err := s.Runs(t.Context(), q)
			require.NoError(t, err)
			require.Len(t, page.Runs, 10)
		})
		require.GreaterOrEqual(t, looked(c), least, c)
		require.LessOrEqual(t, looked(c), most, c)
	}
}
