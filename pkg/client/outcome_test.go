package client_test

import (
	"context"
	"math"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

func v2(step int, key string, n int) client.CheckpointV2[state] {
	return client.CheckpointV2[state]{RunID: "run", StepID: step, IdempotencyKey: key, State: state{N: n}, Label: "l"}
}

func TestAnIdempotencyKeyIsUsedOnce(t *testing.T) {
	t.Parallel()
	l, d := withPersistd(t)
	st := l.open(t)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2(1, "key", 1), client.WithEvents(client.Event{Msg: "m"})))
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2(1, "key", 1), client.WithEvents(client.Event{Msg: "m"})), "the same again, with an event id of its own")
	err := st.SaveCheckpointV2(t.Context(), v2(1, "key", 2), client.WithEvents(client.Event{Msg: "m"}))
	require.ErrorIs(t, err, client.ErrDuplicate)
	require.NotErrorIs(t, err, client.ErrRejected)
	require.ErrorIs(t, st.SaveCheckpointV2(t.Context(), v2(2, "key", 1)), client.ErrDuplicate)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2(2, "other", 1)))
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2(2, "", 1)))

	d.expired.Store(true)
	err = st.SaveCheckpointV2(t.Context(), v2(1, "key", 1), client.WithEvents(client.Event{Msg: "m"}))
	require.ErrorIs(t, err, client.ErrOutcomeUnknown)
	var typed *client.Error
	require.ErrorAs(t, err, &typed)
	require.Contains(t, typed.Hint, "look whether the checkpoint is there")
}

// A key in one part guards all of them.
func TestTheContentOfABatchIsToldByOneHash(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	st := l.open(t)
	steps := large(1, 5)
	save := func(n int) error {
		return st.WithTransaction(t.Context(), func(tx client.Tx[state]) error {
			for _, s := range steps {
				if err := tx.SaveStep("run", s.Step, s.NodeID, s.State); err != nil {
					return err
				}
			}
			return tx.SaveCheckpointV2(v2(1, "key", n))
		})
	}
	require.NoError(t, save(1))
	require.NoError(t, save(1))
	require.ErrorIs(t, save(2), client.ErrDuplicate)
	events := l.requireEvents(t)
	require.Len(t, events, 3)
	require.True(t, events[0].GivenHash)
	require.Equal(t, events[0].ContentHash, events[1].ContentHash)
	require.NotEqual(t, events[0].ContentHash, events[2].ContentHash)
	for _, part := range events[0].Parts {
		ev := subjects.Decode(part)
		require.Equal(t, events[0].ContentHash, ev.ContentHash, "every part says it")
	}
}

// What the tail of the log cannot answer for is only acknowledged when it is committed.
func TestSomeWritesReturnWhenTheyAreCommittedWhateverTheDurability(t *testing.T) {
	t.Parallel()
	checkpoints := func(ids ...string) func(ctx context.Context, st client.Store[state]) error {
		return func(ctx context.Context, st client.Store[state]) error {
			return st.WithTransaction(ctx, func(tx client.Tx[state]) error {
				for _, id := range ids {
					if err := tx.SaveCheckpoint(id, state{}, 1); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	for _, row := range []struct {
		name  string
		save  func(ctx context.Context, st client.Store[state]) error
		waits bool
	}{
		{"a step", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStep(ctx, "run", 1, "", state{})
		}, false},
		{"steps", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveStepBatch(ctx, "run", large(1, 5))
		}, false},
		{"a named checkpoint", func(ctx context.Context, st client.Store[state]) error {
			return st.SaveCheckpoint(ctx, "c", state{}, 1)
		}, false},
		{"several", checkpoints("c", "d"), true},
		{"one twice", checkpoints("c", "c"), false},
		{"a V2 checkpoint", func(ctx context.Context, st client.Store[state]) error { return st.SaveCheckpointV2(ctx, v2(1, "", 1)) }, true},
		{"a deletion", func(ctx context.Context, st client.Store[state]) error { return st.DeleteRun(ctx, "run") }, true},
		{"a step and a named checkpoint", func(ctx context.Context, st client.Store[state]) error {
			return st.WithTransaction(ctx, func(tx client.Tx[state]) error {
				_ = tx.SaveStep("run", 1, "", state{})
				return tx.SaveCheckpoint("c", state{}, 1)
			})
		}, true},
		{"events", func(ctx context.Context, st client.Store[state]) error {
			return st.WithTransaction(ctx, func(tx client.Tx[state]) error { return tx.SaveEvents(client.Event{RunID: "run", Msg: "m"}) })
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			for _, d := range []client.Durability{client.Async, client.Logged, client.Committed} {
				l := newLog(t)
				daemon := startPersistd(t, l)
				st := l.open(t, client.WithDurability(d))
				done := make(chan error, 1)
				go func() { done <- row.save(t.Context(), st) }()
				if row.waits || d == client.Committed {
					require.Eventually(t, func() bool { return daemon.asked.Load() > 1 }, eventually, poll)
					require.Empty(t, done)
					daemon.position.Store(math.MaxUint64)
				}
				require.NoError(t, requireSoon(t, done), d)
				require.NoError(t, st.Flush(t.Context()))
				require.Len(t, l.requireEvents(t), 1)
			}
		})
	}
}

func TestAV2CheckpointThatIsNotDecidedInTimeMayBeSavedAgain(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	d := startPersistd(t, l)
	st := l.open(t)
	err := overWhen(t, func() bool { return d.asked.Load() > 0 }, func(ctx context.Context) error {
		return st.SaveCheckpointV2(ctx, v2(1, "key", 1))
	})
	require.ErrorIs(t, err, client.ErrNotCommitted)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var typed *client.Error
	require.ErrorAs(t, err, &typed)
	require.Contains(t, typed.Hint, "repeat it with its idempotency key")
	d.position.Store(math.MaxUint64)
	require.NoError(t, st.SaveCheckpointV2(t.Context(), v2(1, "key", 1)))
}

// An attempt ended between the log and the database: a newer one was begun by a write that no fence held off.
func TestAWriteThatIsStaleAtItsCommitSaysSo(t *testing.T) {
	t.Parallel()
	l, _ := withPersistd(t)
	st := l.open(t)
	_, err := l.js.Publish(t.Context(), subjects.Write("default", wire.KindRun, "run"), []byte(`{"run_id":"run","attempt":3,"step":1,"node_id":"","state":1}`))
	require.NoError(t, err)
	require.ErrorIs(t, st.SaveCheckpointV2(t.Context(), v2(1, "key", 1)), client.ErrStaleAttempt)
	require.ErrorIs(t, st.SaveStep(committed(t.Context()), "run", 1, "", state{}), client.ErrStaleAttempt)
}

func TestErrorsOfQueuedWritesSayWhatTheyWere(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	l.update(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 })
	st := l.open(t, client.WithDurability(client.Async))
	big := state{Text: noise(2000)}
	require.NoError(t, st.SaveCheckpoint(t.Context(), "the-checkpoint", big, 1))
	require.NoError(t, st.SaveStepBatch(t.Context(), "batched", []client.Step[state]{{Step: 1, State: big}, {Step: 2}}))
	require.NoError(t, st.SaveStep(t.Context(), "single", 7, "", big))
	err := st.Flush(t.Context())
	require.ErrorContains(t, err, `save checkpoint "the-checkpoint": too large`)
	require.ErrorContains(t, err, `run transaction of run "batched": too large`)
	require.ErrorContains(t, err, `save step 7 of run "single": too large`)
}
