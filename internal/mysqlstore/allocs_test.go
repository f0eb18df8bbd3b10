package mysqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
)

// What a batch allocates for each of its events the collector has to look at; what a statement as a whole allocates is spread over all of them. The
// connection is one that takes everything: what is counted is the store's own, and database/sql's.
func TestRowsTakeNoAllocationsAsTextAndFourAsValues(t *testing.T) { //nolint:paralleltest // it counts allocations.
	const events = 1000
	v2 := &wire.V2{Frontier: []byte(`[1]`), RecordedIOs: []byte(`[{"n":"it's"}]`), RNGSeed: 7, Label: "label", Timestamp: created}
	for name, row := range map[string]struct {
		op     wire.Op
		values bool
		takes  int
	}{
		"a step as text":         {wire.Op{Type: wire.OpStep, NodeID: "node"}, false, 0},
		"a step as values":       {wire.Op{Type: wire.OpStep, NodeID: "node"}, true, 4},
		"a checkpoint":           {wire.Op{Type: wire.OpCheckpoint, ID: "checkpoint"}, true, 0},
		"a V2 checkpoint":        {wire.Op{Type: wire.OpCheckpointV2, V2: v2}, true, 0},
		"an event of the outbox": {wire.Op{Type: wire.OpOutbox, ID: "id"}, true, 0},
	} {
		var batch []*wire.Event
		for i := range events { // ten runs, whose steps' numbers are small: larger ones are an allocation more as values
			ev := decoded(save(uint64(1_000_000+i), "run-000"+string(rune('0'+i/100)), int32(i%100), `{"text":"it's \"quoted\""}`))
			op := row.op
			op.Step, op.State, op.Shallow = ev.Ops[0].Step, ev.Ops[0].State, true
			ev.Ops[0] = op
			batch = append(batch, &ev)
		}
		k := &taker{}
		conn := connected{k, !row.values}.open(t)
		var packet packetLimit
		packet.n.Store(64 << 20)
		n := testing.AllocsPerRun(20, func() {
			a := applier{conn: conn, packet: &packet, generation: 1, runless: true}
			_, err := a.apply(t.Context(), batch)
			require.NoError(t, err)
		})
		if row.takes > 0 { // it went the way that is meant
			require.Equal(t, 21*events*bulkSteps.columns, k.values, name)
		} else {
			require.Equal(t, 21, k.texts, name)
		}
		require.InDelta(t, row.takes, n/events, 0.1, name)
	}
}

// taker is a connection that takes everything.
type taker struct {
	driverConn

	texts, values int // statements of text, and values of those that were prepared
}

func (k *taker) Driver() driver.Driver { return nil }
func (k *taker) Close() error          { return nil }
func (k *taker) IsValid() bool         { return true }

func (k *taker) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	k.texts++
	return driver.RowsAffected(1), nil
}

func (k *taker) PrepareContext(context.Context, string) (driver.Stmt, error) {
	return &takerStmt{k: k}, nil
}

type takerStmt struct {
	driverStmt

	k *taker
}

func (s *takerStmt) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.k.values += len(args)
	return driver.RowsAffected(1), nil
}

// connected is a pool's one connection, and takes nothing but text if that is so.
type connected struct {
	*taker

	textOnly bool
}

func (c connected) Connect(context.Context) (driver.Conn, error) {
	return &conn{driverConn: c.taker, servers: &servers{}, textOnly: c.textOnly, asked: true, unchecked: true}, nil
}

func (c connected) open(t *testing.T) *sql.Conn {
	t.Helper()
	db := sql.OpenDB(c)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, conn.Close())
		require.NoError(t, db.Close())
	})
	return conn
}
