package mysqlstore

import (
	"database/sql"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

// runRow is the row of a run: attempt, where it began, the latest one with a step, where the run was deleted.
func runRow(t testing.TB, look *sql.DB, run string) string {
	t.Helper()
	return one[string](t, look, "SELECT COALESCE((SELECT CONCAT_WS(' ', attempt, CONCAT(attempt_gen, '.', attempt_seq), latest_attempt,"+
		" CONCAT(deleted_gen, '.', deleted_seq)) FROM persistd_runs WHERE run_id=?), 'none')", run)
}

// refused are the sequences of the events that a commit refuses, in order.
func refused(t testing.TB, err error) []uint64 {
	t.Helper()
	requireClass(t, batcher.Refused, err)
	var e *batcher.Error
	require.ErrorAs(t, err, &e)
	for _, p := range e.Refused {
		require.Equal(t, wire.CodeAttempt, p.Code)
		require.NotEmpty(t, p.Reason)
	}
	return slices.Sorted(maps.Keys(e.Refused))
}

func TestExactlyTheEventsOfAttemptsThatAreOverAreRefused(t *testing.T) {
	t.Parallel()
	step := stepOp(1, "1")
	for _, tt := range []struct {
		name    string
		there   []wire.Event // committed before
		events  []wire.Event
		refused []uint64
		row     string // of the run once what is refused is taken out
	}{
		{"no attempt ever began", nil, []wire.Event{eventOf(10, "run", step)}, nil, "none"},
		{
			"it begins in the batch", nil,
			[]wire.Event{
				attemptOf(1, eventOf(10, "run", step)), begin(11, "run", 2), attemptOf(1, eventOf(12, "run", step)), eventOf(13, "run", step),
				attemptOf(2, eventOf(14, "run", step)),
			},
			[]uint64{12, 13},
			"2 1.11 2 0.0",
		},
		{
			"a write begins it", nil,
			[]wire.Event{attemptOf(5, eventOf(10, "run", step)), attemptOf(4, eventOf(11, "run", step))},
			[]uint64{11},
			"5 1.10 5 0.0",
		},
		{
			"it began before",
			[]wire.Event{begin(1, "run", 3)},
			[]wire.Event{
				eventOf(10, "other", step), attemptOf(2, eventOf(11, "run", step)), attemptOf(3, eventOf(12, "run", step)),
				eventOf(13, "run", checkpointOp("cp", 1, "1")), eventOf(14, "", checkpointOp("cp", 1, "1")), eventOf(15, "run", outboxOp("e", "1")),
				eventOf(16, "run", v2Op(1, "k", "1")), begin(17, "run", 2), begin(18, "run", 3),
			},
			[]uint64{11, 13, 15, 16, 17},
			"3 1.1 3 0.0",
		},
		{
			"an operator's deletion is of no attempt",
			[]wire.Event{begin(1, "run", 3)},
			[]wire.Event{
				eventOf(10, "run", deleteOp), attemptOf(2, eventOf(11, "run", deleteOp)), eventOf(12, "run", deleteOp, step),
			},
			[]uint64{11, 12},
			"3 1.1 0 1.10",
		},
		{
			"a duplicate begins its attempt, or the attempts would hang on who else has used a key",
			[]wire.Event{keyedEvent(1, "other", "1", "k")},
			[]wire.Event{attemptOf(2, keyedEvent(10, "run", "2", "k")), attemptOf(1, eventOf(11, "run", step))},
			[]uint64{11},
			"2 1.10 0 0.0",
		},
		{
			"poison is of no attempt",
			[]wire.Event{begin(1, "run", 1)},
			[]wire.Event{
				{Message: wire.Message{Sequence: 10}, RunID: "run", Poison: &wire.Poison{}}, attemptOf(1, eventOf(11, "run", step)),
			},
			nil, "1 1.1 1 0.0",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			term := acquire(t, s, 0)
			if tt.there != nil {
				commit(t, s, &term, tt.there...)
			}
			was := dump(t, look)
			err := s.Commit(t.Context(), batch(term, tt.events...))
			if tt.refused != nil {
				require.Equal(t, tt.refused, refused(t, err))
				require.Equal(t, was, dump(t, look), "nothing was written")
				require.Equal(t, term.Position, position(t, s, 0))
				for i := range tt.events {
					if slices.Contains(tt.refused, tt.events[i].Message.Sequence) {
						tt.events[i].Poison, tt.events[i].Ops = &wire.Poison{Code: wire.CodeAttempt}, nil
					}
				}
				err = s.Commit(t.Context(), batch(term, tt.events...))
			}
			require.NoError(t, err)
			require.Equal(t, tt.row, runRow(t, look, "run"))
		})
	}
}

func TestAnEventFromBeforeAnAttemptBeganIsNoneOfAnAttemptThatIsOver(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	events := []wire.Event{eventOf(1, "run", stepOp(1, "1")), attemptOf(1, eventOf(2, "run", stepOp(2, "2"))), attemptOf(2, eventOf(3, "run", stepOp(1, "3")))}
	for _, ev := range events {
		commit(t, s, &term, ev)
	}
	require.Equal(t, "2 1.3 2 0.0", runRow(t, look, "run"))
	was := dump(t, look)
	require.Equal(t, "3", one[string](t, look, "SELECT state FROM workflow_steps WHERE step=1 AND attempt=2"), "the newer attempt's step stands")
	require.Equal(t, "2", one[string](t, look, "SELECT state FROM workflow_steps WHERE step=2 AND attempt=1"), "other steps stay")
	rewind(t, look, 0, 0)
	replay := partition.Term{Partition: 0, Epoch: term.Epoch}
	for _, ev := range events {
		commit(t, s, &replay, ev)
	}
	require.Equal(t, was, dump(t, look))
}

func TestAnAttemptOutlivesItsStream(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, begin(100, "run", 2))
	later := open(t, dsn, owner("two"))
	again := testLog
	again.Created = created.Add(time.Hour)
	require.NoError(t, later.Register(t.Context(), again))
	fresh := acquire(t, later, 0)
	require.Equal(t, []uint64{1}, refused(t, later.Commit(t.Context(), batch(fresh, attemptOf(1, eventOf(1, "run", stepOp(1, "1")))))),
		"it counts from one, and is newer")
	commit(t, later, &fresh, begin(2, "run", 3))
	require.Equal(t, "3 2.2 0 0.0", runRow(t, look, "run"))
	commit(t, s, &term, attemptOf(1, eventOf(101, "run", stepOp(1, "1"))))
	require.Equal(t, "3 2.2 1 0.0", runRow(t, look, "run"), "a straggler of the old stream is from before it began, and may still save")
}

func TestNoRunIsLookedUpWhileNoneEverBeganAnAttemptOrWasDeleted(t *testing.T) {
	t.Parallel()
	_, dsn, look := ready(t)
	dsn, faults := faulty(t, dsn)
	s := open(t, dsn)
	require.NoError(t, s.Register(t.Context(), testLog))
	term, other := acquire(t, s, 0), acquire(t, s, 1)
	asked, locked := faults.count("SELECT EXISTS (SELECT 1 FROM persistd_runs"), faults.count("SELECT run_id, attempt")
	for seq := uint64(1); seq < 5; seq++ {
		commit(t, s, &term, eventOf(seq, "run", stepOp(1, "1"), v2Op(1, "", "1")))
		s.runs.asked[0] = time.Now().Add(time.Hour) // it is not asked again because the machine is slow
	}
	require.EqualValues(t, 1, asked.Load(), "once in a term")
	require.Zero(t, locked.Load())

	commit(t, s, &other, begin(5, "elsewhere", 1))
	commit(t, s, &term, eventOf(6, "run", stepOp(1, "1")))
	require.EqualValues(t, 2, asked.Load(), "what another partition does is of no concern")
	require.EqualValues(t, 2, locked.Load(), "by the one that began: before its row is made, and after")
	commit(t, s, &other, attemptOf(1, eventOf(7, "elsewhere", outboxOp("e", "1"))), attemptOf(1, eventOf(8, "elsewhere", stepOp(1, "1"))))
	require.EqualValues(t, 3, locked.Load())

	commit(t, s, &term, begin(9, "run", 1))
	require.Equal(t, []uint64{10}, refused(t, s.Commit(t.Context(), batch(term, eventOf(10, "run", stepOp(1, "2"))))), "from then on it is looked for")
	require.EqualValues(t, 2, asked.Load())

	require.NoError(t, s.Release(t.Context(), term))
	exec(t, look, "UPDATE persistd_runs SET attempt=2 WHERE run_id='run'") // as another owner may have done meanwhile
	term = acquire(t, s, 0)
	require.Equal(t, []uint64{10}, refused(t, s.Commit(t.Context(), batch(term, attemptOf(1, eventOf(10, "run", stepOp(1, "2")))))))
	require.EqualValues(t, 3, asked.Load(), "a new term asks")
}

func TestTermsThatFindNoRunAskAgainOnceTheDatabaseWasRestored(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(1, "run", stepOp(1, "1")))
	exec(t, look, "INSERT INTO persistd_runs (run_id, attempt, updated_at) VALUES ('run', 2, NOW())")
	rewind(t, look, 0, 0)
	requireClass(t, batcher.Moved, s.Commit(t.Context(), batch(term, eventOf(2, "run", stepOp(1, "1")))))
	term.Position = 0
	require.Equal(t, []uint64{1}, refused(t, s.Commit(t.Context(), batch(term, eventOf(1, "run", stepOp(1, "1"))))))
}
