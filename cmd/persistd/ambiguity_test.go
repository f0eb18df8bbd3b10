package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// paid is a checkpoint that must not happen twice, with an event that must not either.
func paid() (client.CheckpointV2[json.RawMessage], client.SaveOption) {
	return client.CheckpointV2[json.RawMessage]{
			RunID: "order-1", StepID: 7, IdempotencyKey: "pay order-1", State: json.RawMessage(`{"paid":true}`), Frontier: []string{"ship"},
		},
		client.WithEvents(client.Event{Step: 7, NodeID: "pay", Msg: "paid"})
}

// requireOnce checks that the payment is there, once, and that it was the first save that put it there.
func (s *stack) requireOnce(first uint64) {
	s.t.Helper()
	for _, q := range []string{
		"SELECT COUNT(*) FROM workflow_checkpoints_v2", "SELECT COUNT(*) FROM idempotency_keys", "SELECT COUNT(*) FROM events_outbox",
	} {
		var n int
		require.NoError(s.t, s.db.QueryRowContext(s.t.Context(), q).Scan(&n))
		require.Equal(s.t, 1, n, q)
	}
	var seq uint64
	require.NoError(s.t, s.db.QueryRowContext(s.t.Context(), "SELECT log_seq FROM workflow_checkpoints_v2").Scan(&seq))
	require.Equal(s.t, first, seq)
}

// A retry after an answer that never came is success, and changes nothing, however the answer was lost.
func TestASaveWhoseAnswerWasLostIsAppliedOnceAndItsRetrySucceeds(t *testing.T) {
	t.Parallel()
	saveFor := func(ctx context.Context, st client.Store[json.RawMessage]) error {
		cp, events := paid()
		return st.SaveCheckpointV2(ctx, cp, events)
	}
	save := func(s *stack, st client.Store[json.RawMessage]) error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
		defer cancel()
		return saveFor(ctx, st)
	}

	t.Run("the daemon dies after the commit and before anybody learns of it", func(t *testing.T) {
		t.Parallel()
		s := sharedStack(t)
		dying := s.spawn("kill-after:1")
		st := s.open()
		ctx, saved := stacktest.NewDeadline(), make(chan error, 1)
		go func() { saved <- saveFor(ctx, st) }()
		require.Error(t, dying.wait())
		ctx.Passes()
		require.ErrorIs(t, <-saved, client.ErrNotCommitted)
		s.spawn("none")
		require.NoError(t, save(s, st))
		s.requireOnce(1)
	})

	t.Run("the database commits, and the daemon's connection breaks instead of bringing the answer", func(t *testing.T) {
		t.Parallel()
		s := sharedStack(t)
		proxy := s.behindProxy()
		s.spawn("none").serving()
		st := s.open()
		sprung := proxy.arm(cutAnswer, 1)
		require.NoError(t, save(s, st))
		s.eventually("the trap is sprung", func() bool { return len(sprung) == 1 })
		require.NoError(t, save(s, st))
		s.requireOnce(1)
	})

	t.Run("the caller's time is over before the commit", func(t *testing.T) {
		t.Parallel()
		s := sharedStack(t)
		g := newGate(t)
		s.serveHere(g.hooks())
		st := s.open()
		err := s.whileWaiting(func(ctx context.Context) error { return saveFor(ctx, st) })
		require.ErrorIs(t, err, client.ErrNotCommitted)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		again := make(chan error, 1)
		go func() { again <- save(s, s.open()) }() // another worker, which knows nothing of the first
		s.eventually("both saves are in the log", func() bool { return s.events() == 2 })
		g.open()
		require.NoError(t, <-again)
		s.requireOnce(1)
	})

	t.Run("the caller's connection is cut while it waits", func(t *testing.T) {
		t.Parallel()
		s := sharedStack(t)
		g := newGate(t)
		s.serveHere(g.hooks())
		st, err := client.Open[json.RawMessage](t.Context(), s.url, client.WithCloseTimeout(0))
		require.NoError(t, err)
		cut := make(chan error, 1)
		go func() { cut <- save(s, st) }()
		s.eventually("the save is in the log", func() bool { return s.events() == 1 })
		_ = st.Close()
		require.Error(t, <-cut)
		g.open()
		require.NoError(t, save(s, s.open()))
		s.requireOnce(1)
	})

	t.Run("the content is another one the second time", func(t *testing.T) {
		t.Parallel()
		s := sharedStack(t)
		s.spawn("none")
		st := s.open()
		require.NoError(t, save(s, st))
		cp, events := paid()
		cp.State = json.RawMessage(`{"paid":"twice"}`)
		require.ErrorIs(t, st.SaveCheckpointV2(t.Context(), cp, events), client.ErrDuplicate)
		cp, _ = paid()
		require.ErrorIs(t, st.SaveCheckpointV2(t.Context(), cp), client.ErrDuplicate, "without its event it is not the same")
		s.requireOnce(1)
	})
}
