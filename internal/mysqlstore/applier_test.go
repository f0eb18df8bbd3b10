package mysqlstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// applyDirect applies events that no log orders, in a transaction of their own.
func applyDirect(t testing.TB, s *Store, events ...wire.Event) []outcome {
	t.Helper()
	conn, err := s.writers.Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	a := applier{conn: conn, packet: &s.packet}
	out, err := a.apply(t.Context(), pointers(events))
	require.NoError(t, err)
	require.NoError(t, end(t.Context(), conn, "COMMIT"))
	return out
}

func TestEventsOfNoLogOverwriteWhatIsThereAndLeaveItsPlace(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, eventOf(7, "run", stepOp(1, "1"), checkpointOp("cp", 1, "1"), v2Op(1, "k", "1"), outboxOp("e", "1")))
	out := applyDirect(t, s, eventOf(0, "run", stepOp(1, "2"), stepOp(2, "2"), checkpointOp("cp", 1, "2"), v2Op(1, "l", "2"), v2Op(2, "", "2"), outboxOp("e", "2"), outboxOp("f", "2")))
	require.Equal(t, []outcome{{}}, out)
	for q, want := range map[string]string{
		"SELECT GROUP_CONCAT(step, ':', state, ':', log_seq, '.', log_gen ORDER BY step) FROM workflow_steps":                            "1:2:7.1,2:2:0.0",
		"SELECT GROUP_CONCAT(step, ':', state, ':', log_seq, '.', log_gen) FROM workflow_checkpoints":                                    "1:2:7.1",
		"SELECT GROUP_CONCAT(step_id, idempotency_key, state, ':', log_seq, '.', log_gen ORDER BY step_id) FROM workflow_checkpoints_v2": "1l2:7.1,22:0.0",
		"SELECT GROUP_CONCAT(id, event_data, ':', log_seq, '.', log_gen ORDER BY ord) FROM events_outbox":                                "e1:7.1,f2:0.0",
	} {
		require.Equal(t, want, one[string](t, look, q))
	}
	require.Equal(t, "k:7,l:0", keyUsers(t, look))
	commit(t, s, &term, eventOf(8, "run", stepOp(1, "3"), stepOp(2, "3")))
	require.Equal(t, "3,3", one[string](t, look, "SELECT GROUP_CONCAT(state) FROM workflow_steps"), "a later event of the log stands again")
}

func TestOutcomesOfEventsOfNoLog(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	first := keyedEvent(0, "run", "1", "k")
	for _, tt := range []struct {
		name  string
		event wire.Event
		want  outcome
		runs  string
	}{
		{"the first with a key", first, outcome{}, "run"},
		{"the same again: no place tells it from another", first, outcome{result: same}, "run"},
		{"the same key for other content", keyedEvent(0, "other", "2", "k", "l"), outcome{result: duplicate}, "run"},
		{"a key that a duplicate had", keyedEvent(0, "other", "3", "l"), outcome{}, "other,run"},
		{"the beginning of an attempt", begin(0, "run", 2), outcome{}, "other,run"},
		{"an older attempt", attemptOf(1, eventOf(0, "run", stepOp(5, "1"))), outcome{stale, 2}, "other,run"},
		{"no attempt", eventOf(0, "run", stepOp(5, "1"), v2Op(1, "m", "1")), outcome{stale, 2}, "other,run"},
		{"a deletion", eventOf(0, "run", deleteOp), outcome{}, "other"},
		{"the attempt", attemptOf(2, eventOf(0, "run", stepOp(5, "1"))), outcome{}, "other,run"},
		{"a key of what was deleted", attemptOf(2, keyedEvent(0, "run", "4", "k")), outcome{}, "other,run"},
		{"a deletion by one that saves", attemptOf(2, eventOf(0, "run", deleteOp, v2Op(9, "n", "1"))), outcome{}, "other"},
	} {
		require.Equal(t, []outcome{tt.want}, applyDirect(t, s, tt.event), tt.name)
		require.Equal(t, tt.runs, savedRuns(t, look), tt.name)
	}
	require.Equal(t, "l:0,n:0", keyUsers(t, look), "its own key stays")
	require.Equal(t, "2 0.0 0 0.0", runRow(t, look, "run"))
}

func TestADeletionOfNoLogLeavesTheTombstoneOfOne(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, attemptOf(1, eventOf(1, "run", stepOp(1, "1"))), eventOf(2, "run", deleteOp), attemptOf(1, eventOf(3, "run", stepOp(1, "1"))))
	require.Equal(t, []outcome{{}}, applyDirect(t, s, eventOf(0, "run", deleteOp)))
	require.Equal(t, nothing, left(t, look, "run"), "whatever its place")
	require.Equal(t, "1 1.1 0 1.2", runRow(t, look, "run"))
}

func TestI2AllTablesCommitTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{
		"UPDATE persistd_partitions", "SELECT EXISTS", "SELECT run_id", "INSERT INTO persistd_runs (run_id, updated_at)", "SELECT key_value",
		"INSERT INTO idempotency_keys", "DELETE k", "DELETE t FROM idempotency_keys", "DELETE t FROM workflow_steps",
		"DELETE t FROM workflow_checkpoints_v2", "DELETE t FROM events_outbox", "INSERT INTO workflow_steps", "INSERT INTO workflow_checkpoints (", "INSERT INTO workflow_checkpoints_v2",
		"INSERT INTO events_outbox", "INSERT INTO persistd_runs (run_id, attempt", "COMMIT",
	} {
		for how, name := range map[int]string{before: "before", after: "after"} {
			t.Run(name+" "+prefix, func(t *testing.T) {
				t.Parallel()
				_, dsn, look := ready(t)
				dsn, faults := faulty(t, dsn)
				s := open(t, dsn)
				require.NoError(t, s.Register(t.Context(), testLog))
				term := acquire(t, s, 0)
				was := dump(t, look)
				b := batch(term, attemptOf(1, eventOf(5, "run", stepOp(1, "1"), v2Op(1, "k", "1"))), eventOf(6, "run", deleteOp),
					attemptOf(1, eventOf(7, "run", stepOp(1, "1"), checkpointOp("cp", 1, "1"), v2Op(1, "k", "1"), outboxOp("e", "1"))))
				faults.next(prefix, how)
				requireClass(t, batcher.Again, s.Commit(t.Context(), b))
				require.EqualValues(t, 1, faults.fired.Load())
				if prefix != "COMMIT" || how == before {
					require.Equal(t, was, dump(t, look))
					require.Zero(t, position(t, s, 0))
				}
				require.NoError(t, s.Commit(t.Context(), b), "the same batch again")
				require.EqualValues(t, 7, position(t, s, 0))
				require.Equal(t, "steps 1; checkpoints 1; keys k; events e", left(t, look, "run"))
				require.Equal(t, "1 1.5 1 1.6", runRow(t, look, "run"))
			})
		}
	}
}

func TestWhatTheDatabaseRefusesInAnyTableIsNever(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	long := strings.Repeat("x", 256)
	label, frontier := v2Op(1, "", "1"), v2Op(1, "", "1")
	label.V2.Label, frontier.V2.Frontier = long, []byte("{")
	for _, ev := range []wire.Event{
		eventOf(1, "", checkpointOp("cp", 1, "{")), eventOf(1, "", checkpointOp(long, 1, "1")), eventOf(1, "run", label), eventOf(1, "run", frontier),
		eventOf(1, "run", v2Op(1, long, "1")), eventOf(1, "run", outboxOp(long, "1")), eventOf(1, "run", outboxOp("e", "{")),
		attemptOf(1, eventOf(1, long, stepOp(1, "1"))),
	} {
		requireClass(t, batcher.Never, s.Commit(t.Context(), batch(term, ev)))
	}
	for _, table := range allTables {
		require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM "+table))
	}
}

// Each partition has runs of its own; what they share is the tables. A deadlock costs an attempt, and must be rare.
func TestPartitionsThatDoEverythingAtOnceSeldomGetInEachOthersWay(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	const rounds, partitions = 40, 3
	var g errgroup.Group
	again := make([]int, partitions)
	for no := range partitions {
		term := acquire(t, s, no)
		g.Go(func() error {
			for round := range uint64(rounds) {
				var events []wire.Event
				at := 1000*(round+1) + uint64(no) // sequences are of one stream
				for i := range uint64(5) {
					run := fmt.Sprintf("run-%d-%d", no, (round+i)%7)
					events = append(events,
						attemptOf(uint32(round+1), eventOf(at+100*i, run, stepOp(int32(i), "1"), checkpointOp(fmt.Sprint("cp", i), 1, "1"),
							v2Op(1, fmt.Sprint(no, round, i), "1"), outboxOp(fmt.Sprint("e", no, round, i), "1"))),
						eventOf(at+100*i+10, fmt.Sprintf("run-%d-%d", no, (round+i+3)%7), deleteOp))
				}
				b := batch(term, events...)
				for {
					err := s.Commit(t.Context(), b)
					var e *batcher.Error
					if errors.As(err, &e) && e.Class == batcher.Again {
						again[no]++
						continue
					}
					if err != nil {
						return err
					}
					break
				}
				term.Position = b.Last()
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, rounds*partitions*5, one[int](t, look, "SELECT COUNT(*) FROM events_outbox"))
	t.Logf("attempts that failed, of %d: %v", rounds, again)
	require.Less(t, again[0]+again[1]+again[2], rounds*partitions/4)
}
