package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

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
	return s.lockRows("TRUE")
}

// lockPartition does so with one partition.
func (s *stack) lockPartition(p int) (release func()) {
	s.t.Helper()
	return s.lockRows("partition_no = ?", p)
}

func (s *stack) lockRows(where string, args ...any) (release func()) {
	s.t.Helper()
	tx, err := s.db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // locks the rows that it finds, and no others
	require.NoError(s.t, err)
	_, err = tx.ExecContext(s.t.Context(), "UPDATE persistd_partitions SET lease_until=lease_until+INTERVAL 1 HOUR WHERE "+where, args...)
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
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // somebody dealt with it
		}
		require.NoError(s.t, err)
		all = append(all, m)
	}
	return all
}
