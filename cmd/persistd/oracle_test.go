package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/wire"
)

// row is a row of workflow_steps; the key is its run and step.
type row struct {
	Node, State string
	Seq         uint64
	Gen         uint32
	Created     time.Time
}

type rowKey struct {
	Run  string
	Step int32
}

// log is every event of the log. It fails the test when one was published twice.
func (s *stack) log() []wire.Event {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	st, err := s.js.Stream(ctx, "PERSISTD")
	require.NoError(s.t, err)
	left := st.CachedInfo().State.Msgs
	if left == 0 {
		return nil
	}
	c, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	require.NoError(s.t, err)
	it, err := c.Messages()
	require.NoError(s.t, err)
	defer it.Stop()
	ids := map[string]uint64{}
	events := make([]wire.Event, 0, left)
	for ; left > 0; left-- {
		m, err := it.Next(jetstream.NextContext(ctx))
		require.NoError(s.t, err)
		meta, err := m.Metadata()
		require.NoError(s.t, err)
		if id := m.Headers().Get(nats.MsgIdHdr); id != "" {
			require.Zero(s.t, ids[id], "event %d was published before", meta.Sequence.Stream)
			ids[id] = meta.Sequence.Stream
		}
		events = append(events, wire.Subjects{Prefix: "persistd"}.Decode(wire.Message{
			Subject: m.Subject(), Header: wire.Header(m.Headers()), Body: m.Data(), Sequence: meta.Sequence.Stream, Logged: meta.Timestamp.UTC(),
		}))
	}
	return events
}

// events counts the events in the log.
func (s *stack) events() int {
	s.t.Helper()
	st, err := s.js.Stream(s.t.Context(), "PERSISTD")
	require.NoError(s.t, err)
	return int(st.CachedInfo().State.Msgs)
}

// table is workflow_steps as it is.
func (s *stack) table() map[rowKey]row {
	s.t.Helper()
	rows, err := s.db.QueryContext(s.t.Context(), "SELECT run_id, step, node_id, state, log_seq, log_gen, created_at FROM workflow_steps")
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, rows.Close()) }()
	all := map[rowKey]row{}
	for rows.Next() {
		var k rowKey
		var r row
		require.NoError(s.t, rows.Scan(&k.Run, &k.Step, &r.Node, &r.State, &r.Seq, &r.Gen, &r.Created))
		all[k] = r
	}
	require.NoError(s.t, rows.Err())
	return all
}

// matchesLog waits until the database has what the log has, and compares: every row is what the last event of its step wrote, dated by
// the first; no row is there that no event wrote. It returns the log.
func (s *stack) matchesLog() []wire.Event {
	s.t.Helper()
	events := s.log()
	last, want := map[int]uint64{}, map[rowKey]row{}
	for _, ev := range events {
		last[ev.Partition] = ev.Message.Sequence
		for _, op := range ev.Ops {
			k := rowKey{ev.RunID, op.Step}
			r := row{Node: op.NodeID, State: string(op.State), Seq: ev.Message.Sequence, Created: ev.Message.Logged.Truncate(time.Microsecond)}
			if first, ok := want[k]; ok {
				r.Created = first.Created
			}
			want[k] = r
		}
	}
	s.reached(last)
	got := s.table()
	require.Len(s.t, got, len(want), "rows")
	for k, w := range want {
		g, ok := got[k]
		require.True(s.t, ok, "no row of %v, which event %d wrote", k, w.Seq)
		if !sameJSON(w.State, g.State) { // the database may write a state in its own way
			require.FailNow(s.t, "altered", "state of %v: %.200s\nshould be what event %d says: %.200s", k, g.State, w.Seq, w.State)
		}
		g.State, g.Gen, w.State = "", 0, ""
		require.Equal(s.t, w, g, "row of %v", k)
	}
	return events
}

func sameJSON(a, b string) bool {
	if a == b {
		return true
	}
	var values [2]any
	for i, text := range []string{a, b} {
		if json.Unmarshal([]byte(text), &values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

// reached waits until the partitions are at the given positions.
func (s *stack) reached(want map[int]uint64) {
	s.t.Helper()
	var state string
	require.Eventually(s.t, func() bool {
		at := s.partitions()
		state = fmt.Sprint(at)
		for p, seq := range want {
			if at[p].Position != seq {
				return false
			}
		}
		return true
	}, 2*time.Minute, 20*time.Millisecond, "partitions do not reach %v: %s", want, lazy(func() string { return state }))
}

// lazy is a string that is made when it is printed.
type lazy func() string

func (l lazy) String() string { return l() }

// place is what is known of a partition in the database.
type place struct {
	Owner           string
	Epoch, Position uint64
	Gen             uint32
	Updated         time.Time
}

// partitions are the partitions of the log registered last; none while the database is away.
func (s *stack) partitions() map[int]place {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, "SELECT partition_no, owner, epoch, position, generation, updated_at FROM persistd_partitions"+
		" WHERE generation = (SELECT MAX(generation) FROM persistd_streams)")
	if err != nil {
		return nil
	}
	defer rows.Close()
	at := map[int]place{}
	for rows.Next() {
		var no int
		var p place
		if rows.Scan(&no, &p.Owner, &p.Epoch, &p.Position, &p.Gen, &p.Updated) != nil {
			return nil
		}
		at[no] = p
	}
	if rows.Err() != nil {
		return nil
	}
	return at
}

// ownedBy waits until an instance owns every partition.
func (s *stack) ownedBy(instance string) map[int]place {
	s.t.Helper()
	var at map[int]place
	s.eventually("all partitions belong to "+instance, func() bool {
		at = s.partitions()
		for _, p := range at {
			if p.Owner != instance {
				return false
			}
		}
		return len(at) > 0
	})
	return at
}

// migrated brings the schema up before any daemon, so that a test can add to it.
func (s *stack) migrated() {
	s.t.Helper()
	store, err := mysqlstore.Open(mysqlstore.Config{DSN: s.dsn, Owner: "migration"}, zap.NewNop(), prometheus.NewRegistry())
	require.NoError(s.t, err)
	require.NoError(s.t, store.Migrate(s.t.Context()))
	require.NoError(s.t, store.Close())
}

// audited has the database note every write of a row, in the transaction that makes it. What is written twice is noted twice, also when
// nothing changes by it.
func (s *stack) audited() {
	s.t.Helper()
	s.migrated()
	const note = " ON workflow_steps FOR EACH ROW INSERT INTO audit (seq) VALUES (NEW.log_seq)"
	for _, q := range []string{
		"CREATE TABLE audit (seq BIGINT UNSIGNED NOT NULL)",
		"CREATE TRIGGER audit_insert AFTER INSERT" + note,
		"CREATE TRIGGER audit_update BEFORE UPDATE" + note,
	} {
		s.exec(q)
	}
}

// writtenOnce checks that every op of the events was written by exactly one committed transaction.
func (s *stack) writtenOnce(events []wire.Event) {
	s.t.Helper()
	want := map[uint64]int{}
	for _, ev := range events {
		want[ev.Message.Sequence] = len(ev.Ops)
	}
	rows, err := s.db.QueryContext(s.t.Context(), "SELECT seq, COUNT(*) FROM audit GROUP BY seq")
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, rows.Close()) }()
	got := map[uint64]int{}
	for rows.Next() {
		var seq uint64
		var n int
		require.NoError(s.t, rows.Scan(&seq, &n))
		got[seq] = n
	}
	require.NoError(s.t, rows.Err())
	require.Equal(s.t, want, got, "writes by event")
}

func (s *stack) exec(query string, args ...any) {
	s.t.Helper()
	_, err := s.db.ExecContext(s.t.Context(), query, args...)
	require.NoError(s.t, err, query)
}

// dirty counts the rows that a transaction has written and not committed, those committed included.
func (s *stack) dirty(where string) int {
	s.t.Helper()
	tx, err := s.db.BeginTx(s.t.Context(), &sql.TxOptions{Isolation: sql.LevelReadUncommitted})
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, tx.Rollback()) }()
	var n int
	require.NoError(s.t, tx.QueryRowContext(s.t.Context(), "SELECT COUNT(*) FROM workflow_steps WHERE "+where).Scan(&n))
	return n
}

// lockPartitions holds the rows of all partitions, as a transaction that hangs would, until release.
func (s *stack) lockPartitions() (release func()) {
	s.t.Helper()
	tx, err := s.db.BeginTx(context.Background(), nil)
	require.NoError(s.t, err)
	_, err = tx.ExecContext(s.t.Context(), "UPDATE persistd_partitions SET lease_until=lease_until+INTERVAL 1 HOUR")
	require.NoError(s.t, err)
	var done bool
	release = func() {
		if !done {
			done = true
			require.NoError(s.t, tx.Rollback())
		}
	}
	s.t.Cleanup(release)
	return release
}

// publish puts an event into the log as any NATS client would, and returns its sequence.
func (s *stack) publish(token, body string) uint64 {
	s.t.Helper()
	ack, err := s.js.Publish(s.t.Context(), "persistd.write.default.run."+token, []byte(body))
	require.NoError(s.t, err)
	return ack.Sequence
}

// deadLetters are the dead letters that are kept.
func (s *stack) deadLetters() []*jetstream.RawStreamMsg {
	s.t.Helper()
	st, err := s.js.Stream(s.t.Context(), "PERSISTD_DLQ")
	require.NoError(s.t, err)
	var all []*jetstream.RawStreamMsg
	state := st.CachedInfo().State
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := st.GetMsg(s.t.Context(), seq)
		require.NoError(s.t, err)
		all = append(all, m)
	}
	return all
}

// serving waits until the daemon is up.
func (c *child) serving() *child {
	c.t.Helper()
	c.says(`"serving"`)
	return c
}

// address is where the daemon answers HTTP.
func (c *child) address() string {
	c.t.Helper()
	_, rest, ok := strings.Cut(c.out.String(), `"http":"`)
	require.True(c.t, ok)
	addr, _, _ := strings.Cut(rest, `"`)
	return addr
}

// says waits until the daemon has logged something.
func (c *child) says(text string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Contains(c.out.String(), text) }, time.Minute, 10*time.Millisecond, "daemon does not say %s", text)
}

// procState is a line of /proc/<pid>/status of the daemon.
func (c *child) procState(key string) string {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	require.NoError(c.t, err)
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			return strings.TrimSpace(v)
		}
	}
	require.FailNow(c.t, "no such line", "%s in %s", key, b)
	return ""
}
