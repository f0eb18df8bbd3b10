package mysqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

func TestAPageOfStepsIsBoundedByItsBytes(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	sizes := map[int]int{40: pageBytes + 1, 41: 10, 42: pageBytes, 43: pageBytes, 44: 3}
	for step := range 40 {
		sizes[step] = 20 + 1000*step // 780 kB
	}
	for _, step := range slices.Sorted(maps.Keys(sizes)) {
		putStep(t, look, "run", step, long(sizes[step]), 0, 1, step)
	}
	var all []int
	for next, pages := new(int32), 0; next != nil; pages++ {
		page, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run", From: *next})
		require.NoError(t, err)
		size := 0
		for _, r := range page.Steps {
			size += len(r.State)
			require.Len(t, r.State, sizes[int(r.Step)])
		}
		require.True(t, size <= pageBytes || len(page.Steps) == 1, "%d bytes in %d steps", size, len(page.Steps))
		if next = page.Next; next != nil {
			require.Equal(t, page.Steps[len(page.Steps)-1].Step+1, *next)
			require.Greater(t, size+sizes[int(*next)], pageBytes, "page %d ends early", pages)
		}
		all = append(all, steps(page)...)
	}
	require.Equal(t, slices.Sorted(maps.Keys(sizes)), all)
}

func TestAPageEndsBeforeLargeStatesThatWereNotToBeForeseen(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	for step := range 20 {
		putStep(t, look, "run", step, `1`, 0, 1, step)
	}
	for step := 20; step < 36; step++ {
		putStep(t, look, "run", step, long(2<<20), 0, 1, step)
	}
	s := open(t, dsn, func(c *Config) { c.Readers = 1 })
	require.NoError(t, s.Register(t.Context(), testLog))
	for range 3 { // with a connection that was given up, too
		page, err := s.Steps(t.Context(), wire.StepsRequest{RunID: "run"})
		require.NoError(t, err)
		require.Len(t, page.Steps, 20)
		require.EqualValues(t, 20, *page.Next)
		page, err = s.Steps(t.Context(), wire.StepsRequest{RunID: "run", From: 20})
		require.NoError(t, err)
		require.Equal(t, []int{20}, steps(page))
	}
}

func TestAPageIsOfOneMomentHoweverManyStatementsReadIt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	for at := 1; at <= 4; at++ { // before this statement of the page all is saved again
		for i := range 300 {
			putStep(t, look, "run", i, `"old"`, 0, 1, 1)
		}
		statements := 0
		p := pager[string]{
			query: func(ctx context.Context, db querier, last *string, n int) (*sql.Rows, error) {
				if statements++; statements == at {
					exec(t, look, "UPDATE workflow_steps SET state='\"new\"'")
				}
				from := 0
				if last != nil {
					_, _ = fmt.Sscanf(*last, "%d", &from)
					from++
				}
				return db.QueryContext(ctx, "SELECT CONCAT(step, ' ', state) FROM workflow_steps"+byStep+"WHERE run_id='run' AND step>=? ORDER BY step LIMIT ?", from, n)
			},
			scan: func(rows *sql.Rows) (record string, size int, err error) { return record, 1, rows.Scan(&record) },
		}
		all, more, err := p.page(t.Context(), s.readers, 0)
		require.NoError(t, err)
		require.False(t, more)
		require.Equal(t, 4, statements)
		want := "old"
		if at < 3 { // what was read before the second statement is read again
			want = "new"
		}
		require.Len(t, all, 300)
		for i, record := range all {
			require.Equal(t, fmt.Sprintf("%d %q", i, want), record, "saved again before statement %d", at)
		}
	}
}
