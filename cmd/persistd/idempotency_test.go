package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

const (
	racers    = 50
	racedKeys = 1000
)

// Each of 50 workers saves a checkpoint of its own run under each of 1,000 keys, all at about the same time, while the daemon that decides
// is killed again and again. What the workers were told and what the database holds must be the same: one winner a key.
func TestOfFiftySaversOfAKeyExactlyOneWinsAndTheOthersAreToldWhileTheDaemonIsKilled(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	r := &keyRace{s: s, winners: make([][]int, racedKeys)}
	daemon := s.mortal(lives{done: r.told.Load, least: racers * racedKeys / 16, seed: 11})
	var all errgroup.Group
	for saver := range racers {
		all.Go(func() error { return r.saver(saver) })
	}
	require.NoError(t, all.Wait())
	daemon.stop()
	require.Greater(t, daemon.kills.Load(), int64(3), "kills")

	for key, winners := range r.winners {
		require.Len(t, winners, 1, "savers that were told that they won key %d", key)
	}
	r.requireDatabase()
	t.Logf("%d keys, %d savers, %d kills; retried after an unknown outcome: %d", racedKeys, racers, daemon.kills.Load(), r.retried)
}

type keyRace struct {
	s    *stack
	told atomic.Int64 // savers that were told who won a key

	mu      sync.Mutex // guards the rest
	winners [][]int    // by key
	retried int
}

func (r *keyRace) saver(no int) error {
	st, err := client.Open[json.RawMessage](r.s.t.Context(), r.s.url, client.WithAttemptTimeout(time.Second))
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	for key := range racedKeys {
		cp := client.CheckpointV2[json.RawMessage]{
			RunID: raceRun(no), StepID: key, IdempotencyKey: raceKey(key), State: json.RawMessage(fmt.Sprintf(`{"saver":%d}`, no)),
		}
		err := r.save(st, cp)
		switch {
		case err == nil:
			r.mu.Lock()
			r.winners[key] = append(r.winners[key], no)
			r.mu.Unlock()
		case !errors.Is(err, client.ErrDuplicate):
			return fmt.Errorf("saver %d: %w", no, err)
		}
		r.told.Add(1)
	}
	return nil
}

// save repeats what may have happened, as a worker would.
func (r *keyRace) save(st client.Store[json.RawMessage], cp client.CheckpointV2[json.RawMessage]) error {
	for {
		ctx, cancel := context.WithTimeout(r.s.t.Context(), 10*time.Second)
		err := st.SaveCheckpointV2(ctx, cp)
		cancel()
		if !errors.Is(err, client.ErrNotCommitted) && !errors.Is(err, client.ErrOutcomeUnknown) && !errors.Is(err, client.ErrUnavailable) {
			return err
		}
		r.mu.Lock()
		r.retried++
		r.mu.Unlock()
		if r.s.t.Context().Err() != nil {
			return err
		}
	}
}

func raceRun(saver int) string { return fmt.Sprintf("run-%02d", saver) }
func raceKey(key int) string   { return fmt.Sprintf("key-%04d", key) }

// requireDatabase checks that there is one checkpoint and one key row of each key, both the winner's.
func (r *keyRace) requireDatabase() {
	t := r.s.t
	t.Helper()
	rows, err := r.s.db.QueryContext(t.Context(), "SELECT k.key_value, k.run_id, c.run_id, c.step_id FROM idempotency_keys k"+
		" LEFT JOIN workflow_checkpoints_v2 c ON c.idempotency_key = k.key_value ORDER BY k.key_value, c.run_id")
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	n := 0
	for ; rows.Next(); n++ {
		var key, owner, run string
		var step int
		require.NoError(t, rows.Scan(&key, &owner, &run, &step))
		require.Equal(t, raceKey(n), key)
		winner := raceRun(r.winners[n][0])
		require.Equal(t, []any{winner, winner, n}, []any{owner, run, step}, "key %s", key)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, racedKeys, n)
	var checkpoints int
	require.NoError(t, r.s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM workflow_checkpoints_v2").Scan(&checkpoints))
	require.Equal(t, racedKeys, checkpoints, "losers left something behind")
}
