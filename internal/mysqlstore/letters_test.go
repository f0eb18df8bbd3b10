package mysqlstore

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// missed is the position passing ev without applying it.
func missed(ev wire.Event) wire.Event {
	ev.Ops, ev.Poison = nil, &wire.Poison{Code: wire.CodeDatabase, Reason: "refused"}
	return ev
}

// refusedAs is the code that a retry was refused with.
func refusedAs(t testing.TB, err error, seq uint64) string {
	t.Helper()
	e, ok := errors.AsType[*batcher.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, batcher.Refused, e.Class, "%v", err)
	return e.Refused[seq].Code
}

// I4: a retried event is applied at its place in the log, whatever came since.
func TestI4ARetriedEventIsAppliedAtItsPlace(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	letter := eventOf(2, "run", stepOp(1, `"old"`), stepOp(2, `"old"`), checkpointOp("overwritten", 1, `"old"`), checkpointOp("only here", 1, `"old"`),
		v2Op(1, "", `"old"`), v2Op(2, "", `"old"`), outboxOp("e", `"old"`))
	commit(t, s, &term,
		eventOf(1, "run", stepOp(2, `"before"`), checkpointOp("before", 1, `"before"`)),
		missed(letter),
		eventOf(3, "run", stepOp(1, `"new"`), checkpointOp("overwritten", 9, `"new"`), v2Op(1, "", `"new"`)))

	for range 2 { // the second changes nothing
		what, err := s.Retry(t.Context(), testLog, 0, &letter, 0)
		require.NoError(t, err)
		require.Equal(t, RetriedApplied, what)
		require.Equal(t, []string{`step="1" state="\"new\"" log_seq="3"`, `step="2" state="\"old\"" log_seq="2"`},
			readAll(t, look, "SELECT step, state, log_seq FROM workflow_steps ORDER BY step"))
		require.Equal(t, []string{`checkpoint_id="before" state="\"before\""`, `checkpoint_id="only here" state="\"old\""`, `checkpoint_id="overwritten" state="\"new\""`},
			readAll(t, look, "SELECT checkpoint_id, state FROM workflow_checkpoints ORDER BY checkpoint_id"))
		require.Equal(t, []string{`step_id="1" state="\"new\""`, `step_id="2" state="\"old\""`},
			readAll(t, look, "SELECT step_id, state FROM workflow_checkpoints_v2 ORDER BY step_id"))
		require.Equal(t, 1, one[int](t, look, "SELECT COUNT(*) FROM events_outbox"))
	}
	require.EqualValues(t, 3, position(t, s, 0), "the position is the owner's")
	commit(t, s, &term, save(4, "run", 3, "1"))
}

// A letter may lie for longer than keys are kept. Whether somebody has used its key meanwhile nobody knows then, as of a replay.
func TestARetriedEventWhoseKeysMayHaveBeenRemovedIsNotAppliedUnasked(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	letter, other, free := keyedEvent(1, "run", "1", "k"), keyedEvent(2, "run", "1", "k"), eventOf(3, "run", stepOp(1, `"no key"`))
	for _, ev := range []*wire.Event{&letter, &free} {
		ev.Message.Logged = time.Now().Add(-48 * time.Hour)
	}
	commit(t, s, &term, missed(letter), other, missed(free))
	what, err := s.Retry(t.Context(), testLog, 0, &letter, 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, RetriedSame, what, "the key is there, and tells")
	_, err = look.ExecContext(t.Context(), "DELETE FROM idempotency_keys")
	require.NoError(t, err)
	was := readAll(t, look, "SELECT * FROM workflow_checkpoints_v2")

	_, err = s.Retry(t.Context(), testLog, 0, &letter, 24*time.Hour)
	require.ErrorIs(t, err, ErrUntold)
	require.Equal(t, was, readAll(t, look, "SELECT * FROM workflow_checkpoints_v2"))
	what, err = s.Retry(t.Context(), testLog, 0, &free, 24*time.Hour)
	require.NoError(t, err)
	require.Equal(t, RetriedApplied, what, "it has no key")
	for _, kept := range []time.Duration{72 * time.Hour, 0} { // it would be there still
		what, err = s.Retry(t.Context(), testLog, 0, &letter, kept)
		require.NoError(t, err)
		require.Equal(t, RetriedApplied, what)
		_, err = look.ExecContext(t.Context(), "DELETE FROM idempotency_keys")
		require.NoError(t, err)
	}
}

func TestARetriedEventObeysKeysDeletionsAndAttempts(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	first, again, other := keyedEvent(1, "run", "1", "k"), keyedEvent(2, "run", "1", "k"), keyedEvent(3, "run", "2", "k")
	free := keyedEvent(4, "run", "1", "free")
	before, stale := save(5, "deleted", 1, "1"), attemptOf(1, save(9, "attempts", 1, "1"))
	commit(t, s, &term, first, missed(again), missed(other), missed(free), missed(before), eventOf(6, "deleted", deleteOp),
		begin(8, "attempts", 2), missed(stale), save(20, "plain", 1, "1"))

	what, err := s.Retry(t.Context(), testLog, 0, &again, 0)
	require.NoError(t, err)
	require.Equal(t, RetriedSame, what)
	_, err = s.Retry(t.Context(), testLog, 0, &other, 0)
	require.Equal(t, wire.RejectedDuplicate, refusedAs(t, err, 3))
	for range 2 {
		what, err = s.Retry(t.Context(), testLog, 0, &free, 0)
		require.NoError(t, err)
		require.Equal(t, RetriedApplied, what)
	}
	require.Equal(t, 1, one[int](t, look, "SELECT COUNT(*) FROM idempotency_keys WHERE key_value='free' AND log_seq=4"))
	what, err = s.Retry(t.Context(), testLog, 0, &before, 0)
	require.NoError(t, err)
	require.Equal(t, RetriedDeleted, what)
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps WHERE run_id='deleted'"))
	_, err = s.Retry(t.Context(), testLog, 0, &stale, 0)
	require.Equal(t, wire.CodeAttempt, refusedAs(t, err, 9), "what was refused for its attempt stays so")
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps WHERE run_id='attempts'"))

	late := attemptOf(7, save(10, "plain", 1, "1"))
	_, err = s.Retry(t.Context(), testLog, 0, &late, 0)
	require.Equal(t, wire.CodeAttempt, refusedAs(t, err, 10), "its attempt would put away the steps that were saved since")
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM persistd_runs WHERE run_id='plain'"))
	bad := save(11, "bad", 1, "{")
	_, err = s.Retry(t.Context(), testLog, 0, &bad, 0)
	requireClass(t, batcher.Never, err)
}

func TestARetryIsRefusedWhereThereIsNothingToRetry(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(5, "run", 1, "1"))
	ahead := save(6, "run", 2, "1")
	_, err := s.Retry(t.Context(), testLog, 0, &ahead, 0)
	require.ErrorIs(t, err, ErrNotPassed)
	requireClass(t, batcher.Again, err)
	old := testLog
	old.Stream = "ANOTHER"
	_, err = s.Retry(t.Context(), old, 0, &ahead, 0)
	require.ErrorIs(t, err, ErrUnknownLog)
	requireClass(t, batcher.Operator, err)
}

// A letter of a log that was made again is older than all that the new log wrote.
func TestI4ARetriedEventOfAnOlderLogIsOlder(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	letter := eventOf(50, "run", stepOp(1, `"old"`), stepOp(2, `"old"`))
	commit(t, s, &term, missed(letter))
	again := testLog
	again.Created = again.Created.AddDate(0, 0, 1)
	require.NoError(t, s.Register(t.Context(), again))
	term = acquire(t, s, 0)
	commit(t, s, &term, save(1, "run", 1, `"new"`))
	_, err := s.Retry(t.Context(), testLog, 0, &letter, 0)
	require.NoError(t, err)
	require.Equal(t, []string{`step="1" state="\"new\""`, `step="2" state="\"old\""`}, readAll(t, look, "SELECT step, state FROM workflow_steps ORDER BY step"))
	_, err = s.Retry(t.Context(), again, 0, &letter, 0)
	require.ErrorIs(t, err, ErrNotPassed, "the sequences of the new log are others")
}

// An owner that knows of no attempts among its runs is told of one that a retry begins: its term ends, and the next one looks.
func TestARetryThatBeginsAnAttemptIsNotOverlookedByTheOwner(t *testing.T) {
	t.Parallel()
	s, dsn, _ := ready(t)
	operator := open(t, dsn, owner("operator"))
	term := acquire(t, s, 0)
	letter := attemptOf(3, save(1, "run", 1, "1"))
	commit(t, s, &term, missed(letter), save(2, "other", 1, "1"))
	_, err := operator.Retry(t.Context(), testLog, 0, &letter, 0)
	require.NoError(t, err)
	stale := []wire.Event{save(3, "run", 2, "1"), save(4, "other", 2, "1")}
	requireClass(t, batcher.Lost, s.Commit(t.Context(), batch(term, stale...)))
	term = acquire(t, s, 0) // at once
	require.EqualValues(t, 2, term.Position)
	require.Equal(t, []uint64{3}, refused(t, s.Commit(t.Context(), batch(term, stale...))))

	letter = attemptOf(3, save(2, "run", 7, "1")) // of a run that has a row nobody's term has to end
	_, err = operator.Retry(t.Context(), testLog, 0, &letter, 0)
	require.NoError(t, err)
	commit(t, s, &term, save(5, "other", 2, "1"))
}
