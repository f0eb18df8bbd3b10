package mysqlstore

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// left is what there is of a run: its steps, V2 checkpoints, keys and outbox events.
func left(t testing.TB, look *sql.DB, run string) string {
	t.Helper()
	list := func(what, from string) string {
		return one[string](t, look, "SELECT COALESCE(GROUP_CONCAT("+what+" ORDER BY "+what+"), '') FROM "+from+" WHERE run_id=?", run)
	}
	return fmt.Sprintf("steps %s; checkpoints %s; keys %s; events %s",
		list("step", "workflow_steps"), list("step_id", "workflow_checkpoints_v2"), list("key_value", "idempotency_keys"), list("id", "events_outbox"))
}

const nothing = "steps ; checkpoints ; keys ; events "

func TestADeletedRunIsGoneButForItsPromisesAndWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, keyedEvent(1, "run", "1", "k"), eventOf(2, "run", stepOp(2, "2"), checkpointOp("cp", 2, "2"), outboxOp("kept", "1")),
		keyedEvent(3, "Run", "1", "K"), keyedEvent(4, "run2", "1", "k2"))
	exec(t, look, "UPDATE events_outbox SET emitted_at=NOW(6) WHERE id<>'kept'")
	others := left(t, look, "Run") + left(t, look, "run2")
	commit(t, s, &term, eventOf(5, "run", deleteOp))
	require.Equal(t, "steps ; checkpoints ; keys ; events kept", left(t, look, "run"))
	require.Equal(t, others, left(t, look, "Run")+left(t, look, "run2"))
	require.Equal(t, 1, one[int](t, look, "SELECT COUNT(*) FROM workflow_checkpoints"))
	require.Equal(t, "0 0.0 0 1.5", runRow(t, look, "run"))

	commit(t, s, &term, keyedEvent(6, "run", "7", "k"))
	require.Equal(t, "steps 1; checkpoints 0; keys k; events event6,kept", left(t, look, "run"), "its keys are free again")
	commit(t, s, &term, eventOf(7, "no such run", deleteOp), eventOf(8, "no such run", deleteOp))
	require.Equal(t, "0 0.0 0 1.8", runRow(t, look, "no such run"))
}

func TestWhatABatchSavesBeforeAndAfterADeletion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		events []wire.Event
		left   string
	}{
		{"saved before", []wire.Event{keyedEvent(1, "run", "1", "k"), eventOf(2, "run", deleteOp)}, "steps ; checkpoints ; keys ; events event1"},
		{
			"saved before and after, under one key",
			[]wire.Event{keyedEvent(1, "run", "1", "k"), eventOf(2, "run", deleteOp), keyedEvent(3, "run", "2", "k")},
			"steps 1; checkpoints 0; keys k; events event1,event3",
		},
		{
			"deleted and saved by one event",
			[]wire.Event{eventOf(1, "run", stepOp(1, "1"), stepOp(2, "1")), eventOf(2, "run", deleteOp, stepOp(3, "1"), v2Op(4, "k", "1"))},
			"steps 3; checkpoints 4; keys k; events ",
		},
		{
			"saved and deleted by one event, whose key is used all the same",
			[]wire.Event{eventOf(1, "run", stepOp(1, "1"), v2Op(1, "k", "1"), outboxOp("e", "1"), deleteOp, stepOp(2, "1")), keyedEvent(2, "run", "2", "k")},
			"steps 2; checkpoints ; keys k; events e",
		},
		{
			"deleted twice",
			[]wire.Event{eventOf(1, "run", stepOp(1, "1")), eventOf(2, "run", deleteOp), eventOf(3, "run", stepOp(2, "1")), eventOf(4, "run", deleteOp)},
			nothing,
		},
		{
			"deleted by several in a row",
			[]wire.Event{
				eventOf(1, "run", stepOp(1, "1")), eventOf(2, "other", deleteOp), eventOf(3, "run", deleteOp), eventOf(4, "run", deleteOp), eventOf(5, "run", stepOp(5, "1")),
			},
			"steps 5; checkpoints ; keys ; events ",
		},
		{
			"deleted by a duplicate",
			[]wire.Event{keyedEvent(1, "other", "1", "k"), eventOf(2, "run", stepOp(1, "1")), eventOf(3, "run", deleteOp, v2Op(1, "k", "2"))},
			"steps 1; checkpoints ; keys ; events ",
		},
		{
			"a key of a deleted run, used by another",
			[]wire.Event{
				keyedEvent(1, "other", "1", "k"), eventOf(2, "other", deleteOp), keyedEvent(3, "run", "2", "k"),
			},
			"steps 1; checkpoints 0; keys k; events event3",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			term := acquire(t, s, 0)
			commit(t, s, &term, tt.events...)
			require.Equal(t, tt.left, left(t, look, "run"))
			was := dump(t, look)
			for n := range tt.events { // as many at a time, from the beginning
				rewind(t, look, 0, 0)
				replay := partition.Term{Partition: 0, Epoch: term.Epoch}
				for from := 0; from < len(tt.events); from += n + 1 {
					commit(t, s, &replay, tt.events[from:min(from+n+1, len(tt.events))]...)
					require.Equal(t, was, dump(t, look), "a replay brings nothing back, not even for a while")
				}
			}
		})
	}
}

func TestADeletionLeavesWhatIsNewerThanIt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(9, "run", stepOp(9, "1"), v2Op(9, "k9", "1"), outboxOp("e9", "1")))
	exec(t, look, "UPDATE events_outbox SET emitted_at=NOW(6)")
	// A log that is applied again from before its deletion, to a database that lost the run's row.
	rewind(t, look, 0, 0)
	term.Position = 0
	commit(t, s, &term, attemptOf(1, eventOf(3, "run", stepOp(3, "1"), v2Op(3, "k3", "1"))), eventOf(5, "run", deleteOp))
	require.Equal(t, "steps 9; checkpoints 9; keys k9; events e9", left(t, look, "run"))
	require.Equal(t, "1 1.3 0 1.5", runRow(t, look, "run"), "the attempt stays, and its steps are gone")
}

func TestADeletionTakesTheLatestAttemptAndLeavesTheAttempt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, attemptOf(2, eventOf(1, "run", stepOp(1, "1"))))
	require.Equal(t, "2 1.1 2 0.0", runRow(t, look, "run"))
	commit(t, s, &term, eventOf(2, "run", deleteOp))
	require.Equal(t, "2 1.1 0 1.2", runRow(t, look, "run"))
	require.Equal(t, []uint64{3}, refused(t, s.Commit(t.Context(), batch(term, eventOf(3, "run", stepOp(1, "1"))))))
	commit(t, s, &term, attemptOf(2, eventOf(4, "run", stepOp(1, "1"))))
	require.Equal(t, "2 1.1 2 1.2", runRow(t, look, "run"))
	commit(t, s, &term, attemptOf(2, eventOf(5, "run", stepOp(2, "1"), deleteOp)))
	require.Equal(t, "2 1.1 0 1.5", runRow(t, look, "run"), "what it saved it deleted")
}

func TestADeletionTakesWhatLangGraphGoSavedOfTheRun(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	old := langGraph{look}
	old.saveStep(t, "run", 1, "n", "1")
	require.NoError(t, old.saveCheckpointV2(t, "run", 1, "k", "1"))
	require.NoError(t, old.saveCheckpointV2(t, "run", 2, "", "1"))
	require.NoError(t, old.saveCheckpointV2(t, "other", 1, "l", "1"))
	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(1, "run", deleteOp))
	require.Equal(t, nothing, left(t, look, "run"))
	require.Equal(t, ":0,l:0", keyUsers(t, look), "the key of its checkpoint too, which does not say its run")
	require.NoError(t, old.saveCheckpointV2(t, "run", 1, "k", "1"))
	was := dump(t, look)
	rewind(t, look, 0, 0)
	term.Position = 0
	commit(t, s, &term, eventOf(1, "run", deleteOp))
	require.Equal(t, was, dump(t, look), "a deletion that was done is not done again to what came after")
}
