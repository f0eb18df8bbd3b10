package mysqlstore

import (
	"database/sql"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { stacktest.Main(m) }

// created is when the stream of the tests was made; a nanosecond more than the database keeps.
var created = time.Date(2026, 2, 3, 4, 5, 6, 123456789, time.UTC)

var testLog = Log{Stream: "PERSISTD", Created: created, Partitions: 4}

// leased is for how long leases run here: so long that none is nearly over for what a busy machine is doing meanwhile.
const leased = 10 * time.Minute

// open is a store of owner "one" on dsn, closed when t ends; with may change its settings.
func open(t testing.TB, dsn string, with ...func(*Config)) *Store {
	t.Helper()
	c := Config{DSN: dsn, Owner: "one", Lease: leased}
	for _, f := range with {
		f(&c)
	}
	s, err := Open(c, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)), prometheus.NewRegistry())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func owner(name string) func(*Config) { return func(c *Config) { c.Owner = name } }

// ready is a store on an empty database of its own, migrated and registered, and a plain connection to look from outside.
func ready(t testing.TB) (s *Store, dsn string, look *sql.DB) {
	t.Helper()
	dsn = stacktest.Database(t)
	s = open(t, dsn)
	require.NoError(t, s.Migrate(t.Context()))
	require.NoError(t, s.Register(t.Context(), testLog))
	return s, dsn, plain(t, dsn)
}

// plain is a connection as anybody has it: none of the store's settings but UTC and parsed times.
func plain(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func acquire(t testing.TB, s *Store, no int) partition.Term {
	t.Helper()
	term, err := s.Acquire(t.Context(), no, false)
	require.NoError(t, err)
	return term
}

// save is an event of one step, logged seq milliseconds after created.
func save(seq uint64, run string, step int32, state string) wire.Event {
	return wire.Event{
		Message: wire.Message{Sequence: seq, Logged: created.Add(time.Duration(seq) * time.Millisecond)},
		RunID:   run,
		Ops:     []wire.Op{{Type: wire.OpStep, Step: step, NodeID: "node", State: []byte(state)}},
	}
}

// pointers are events as a batch has them.
func pointers(events []wire.Event) []*wire.Event {
	all := make([]*wire.Event, len(events))
	for i := range events {
		all[i] = &events[i]
	}
	return all
}

// batch is what follows term's position.
func batch(term partition.Term, events ...wire.Event) *batcher.Batch {
	b := &batcher.Batch{Partition: term.Partition, Epoch: term.Epoch, After: term.Position, Events: pointers(events)}
	for _, e := range events {
		b.Rows += len(e.Ops)
		b.Bytes += e.Size
	}
	return b
}

// commit commits events after term's position, and moves term there.
func commit(t testing.TB, s *Store, term *partition.Term, events ...wire.Event) {
	t.Helper()
	b := batch(*term, events...)
	require.NoError(t, s.Commit(t.Context(), b))
	term.Position = b.Last()
}

func requireClass(t testing.TB, want batcher.Class, err error) {
	t.Helper()
	var e *batcher.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want, e.Class, "%v", err)
}

func TestAStepIsCommittedAndReadWithItsPosition(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 2)
	commit(t, s, &term, save(7, "run", 1, `{"n":1}`), save(9, "run", 2, `{"n":2}`))

	step, _, position, err := s.Latest(t.Context(), 2, "run")
	require.NoError(t, err)
	require.EqualValues(t, 9, position)
	require.EqualValues(t, 2, step.Step)
	require.Equal(t, "node", step.NodeID)
	require.JSONEq(t, `{"n":2}`, string(step.State))
	require.EqualValues(t, 9, step.Sequence)
	require.Equal(t, created.Add(9*time.Millisecond).Truncate(time.Microsecond), step.SavedAt)

	step, _, position, err = s.Latest(t.Context(), 2, "no such run")
	require.NoError(t, err)
	require.Nil(t, step)
	require.EqualValues(t, 9, position)
}
