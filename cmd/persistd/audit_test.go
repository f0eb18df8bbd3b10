package main

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/wire"
)

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
