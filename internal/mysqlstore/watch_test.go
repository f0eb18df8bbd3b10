package mysqlstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// watched asks once what was saved since cursor.
func watched(t *testing.T, d *Direct, from int32, cursor string, wait time.Duration) (all []string, next string) {
	t.Helper()
	reply, err := d.Watch(t.Context(), wire.WatchRequest{RunID: "run", From: from, Cursor: cursor, WaitMS: wait.Milliseconds()})
	require.NoError(t, err)
	for _, s := range reply.Steps {
		all = append(all, fmt.Sprint(s.Step, "=", string(s.State)))
	}
	return all, reply.Cursor
}

func TestAWatchMissesNoStepInWhateverOrderTransactionsCommit(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	d, look := direct(t, dsn), plain(t, dsn)
	apply := func(ops ...wire.Op) { require.NoError(t, d.Apply(t.Context(), of("run", ops...))) }
	_, cursor := watched(t, d, 0, "", 0)
	apply(stepOp(5, `5`))
	apply(stepOp(-1, `0`), stepOp(2, `2`), stepOp(1, `1`))
	all, cursor := watched(t, d, 0, cursor, time.Minute)
	require.Equal(t, []string{"5=5"}, all, "a page ends where the numbers fall")
	all, cursor = watched(t, d, 0, cursor, time.Minute)
	require.Equal(t, []string{"1=1", "2=2"}, all)

	late, err := look.BeginTx(t.Context(), nil) // LangGraph-Go's statement, which commits after what is later
	require.NoError(t, err)
	defer func() { _ = late.Rollback() }()
	_, err = late.ExecContext(t.Context(), "INSERT INTO workflow_steps (run_id, step, node_id, state) VALUES ('run', 7, 'n', '7')")
	require.NoError(t, err)
	apply(stepOp(8, `8`))
	apply(stepOp(5, `"again"`))
	all, cursor = watched(t, d, 0, cursor, time.Minute)
	require.Equal(t, []string{"8=8"}, all)
	all, cursor = watched(t, d, 0, cursor, time.Minute)
	require.Equal(t, []string{`5="again"`}, all)
	all, cursor = watched(t, d, 0, cursor, 0)
	require.Empty(t, all)
	require.NoError(t, late.Commit())
	all, cursor = watched(t, d, 0, cursor, time.Minute)
	require.Equal(t, []string{"7=7"}, all)

	done := make(chan error, 1)
	go func() { done <- d.Apply(t.Context(), of("run", stepOp(9, `9`))) }()
	all, cursor = watched(t, d, 0, cursor, time.Minute)
	require.NoError(t, <-done)
	require.Equal(t, []string{"9=9"}, all)

	apply(deleteOp)
	all, cursor = watched(t, d, 0, cursor, 0)
	require.Empty(t, all)
	apply(stepOp(1, `"of a new run"`))
	all, _ = watched(t, d, 0, cursor, time.Minute)
	require.Equal(t, []string{`1="of a new run"`}, all)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.Watch(ctx, wire.WatchRequest{RunID: "run", WaitMS: 60_000})
	require.ErrorIs(t, err, context.Canceled)
	_, err = d.Watch(t.Context(), wire.WatchRequest{RunID: "run", Cursor: "gA"}) // ends within a number
	require.ErrorContains(t, err, "cursor")
}

func TestALongRunIsWatchedInPages(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	d := direct(t, dsn)
	var ops []wire.Op
	for i := range int32(2500) {
		ops = append(ops, stepOp(i, `1`))
	}
	ops = append(ops, stepOp(2500, long(pageBytes)), stepOp(2501, long(pageBytes)))
	require.NoError(t, d.Apply(t.Context(), of("run", ops...)))
	var cursor string
	var sizes []int
	for {
		var all []string
		if all, cursor = watched(t, d, 0, cursor, 0); len(all) == 0 {
			break
		}
		sizes = append(sizes, len(all))
	}
	require.Equal(t, []int{1000, 1000, 500, 1, 1}, sizes)
	v, err := parseVersions(cursor)
	require.NoError(t, err)
	require.Len(t, v, 2502)
	require.Equal(t, cursor, v.String())
}
