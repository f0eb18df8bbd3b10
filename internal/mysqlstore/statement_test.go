package mysqlstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

func TestABatchLargerThanAPacketIsSplit(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	root := plain(t, server.DSN(""))
	_, err := root.ExecContext(t.Context(), "SET GLOBAL max_allowed_packet=1048576")
	require.NoError(t, err)
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	look := plain(t, dsn)
	inserts := func() (n int) {
		var name string
		require.NoError(t, root.QueryRowContext(t.Context(), "SHOW GLOBAL STATUS LIKE 'Com_insert'").Scan(&name, &n))
		return n
	}
	limits, err := s.Limits(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, limits.MaxAllowedPacket)
	require.EqualValues(t, stacktest.Engine(t), limits.Engine)

	term := acquire(t, s, 0)
	quotes := `"` + strings.Repeat("'", 130_000) + `"` // twice as long once escaped; no two fit a statement of values
	var events []wire.Event
	for i := range 20 {
		events = append(events, save(uint64(i+1), "run", int32(i), quotes))
	}
	was := inserts()
	commit(t, s, &term, events...)
	require.Equal(t, 5, inserts()-was, "5 MB in statements of up to 1 MiB, four rows in each")
	var whole int
	require.NoError(t, look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM workflow_steps WHERE state=? OR CAST(state AS CHAR)=?",
		quotes, quotes).Scan(&whole))
	require.Equal(t, 20, whole)

	alone := batch(term, save(101, "run", 1, `"`+strings.Repeat("x", 1<<20)+`"`))
	err = s.Commit(t.Context(), alone)
	requireClass(t, batcher.Never, err)
	require.EqualValues(t, 20, position(t, s, 0))

	t.Run("also after the server's limit was lowered", func(t *testing.T) { //nolint:paralleltest // goes on with the server.
		_, err := root.ExecContext(t.Context(), "SET GLOBAL max_allowed_packet=524288")
		require.NoError(t, err)
		s.writers.SetMaxIdleConns(0) // connections keep the limit that they began with
		var events []wire.Event
		for i := range 4 {
			events = append(events, save(uint64(i+201), "other", int32(i), quotes))
		}
		b := batch(term, events...)
		requireClass(t, batcher.Again, s.Commit(t.Context(), b))
		require.NoError(t, s.Commit(t.Context(), b))
		require.Equal(t, 4, count(t, look, "other"))
	})
}

func TestABatchOfEverythingLargerThanAPacketIsSplit(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	exec(t, plain(t, server.DSN("")), "SET GLOBAL max_allowed_packet=1048576")
	s := open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	look := plain(t, dsn)
	term := acquire(t, s, 0)
	large := `"` + strings.Repeat("'", 100_000) + `"` // twice as long once escaped
	var events []wire.Event
	for i := range 12 {
		id := fmt.Sprint(strings.Repeat("'", 240), i)
		events = append(events, attemptOf(1, eventOf(uint64(i+1), id, stepOp(1, large), checkpointOp(id, 1, large), v2Op(1, id, large), outboxOp(id, large))))
	}
	commit(t, s, &term, events...)
	for _, table := range allTables {
		require.Equal(t, 12, one[int](t, look, "SELECT COUNT(*) FROM "+table), table)
	}
	for i := range events {
		events[i] = eventOf(uint64(i+101), events[i].RunID, deleteOp)
	}
	exec(t, look, "UPDATE events_outbox SET emitted_at=NOW(6)")
	commit(t, s, &term, events...)
	require.Zero(t, one[int](t, look, "SELECT (SELECT COUNT(*) FROM workflow_steps)+(SELECT COUNT(*) FROM workflow_checkpoints_v2)"+
		"+(SELECT COUNT(*) FROM idempotency_keys)+(SELECT COUNT(*) FROM events_outbox)"))

	tooLarge := `"` + strings.Repeat("x", 1<<20) + `"`
	for _, op := range []wire.Op{stepOp(1, tooLarge), checkpointOp("cp", 1, tooLarge), v2Op(1, "", tooLarge), outboxOp("e", tooLarge)} {
		requireClass(t, batcher.Never, s.Commit(t.Context(), batch(term, attemptOf(1, eventOf(201, "run", op)))))
	}
}
