package mysqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// keyUsers are the keys that were used, each with the sequence of who used it.
func keyUsers(t testing.TB, look *sql.DB) string {
	t.Helper()
	return one[string](t, look, "SELECT COALESCE(GROUP_CONCAT(key_value, ':', log_seq ORDER BY key_value), '') FROM idempotency_keys")
}

// savedRuns are the runs of the steps that there are.
func savedRuns(t testing.TB, look *sql.DB) string {
	t.Helper()
	return one[string](t, look, "SELECT COALESCE(GROUP_CONCAT(DISTINCT run_id ORDER BY run_id), '') FROM workflow_steps")
}

// keyedEvent is an event of a run with a step, an outbox event, and a V2 checkpoint with each of the keys.
func keyedEvent(seq uint64, run, content string, keys ...string) wire.Event {
	ops := []wire.Op{stepOp(1, content), outboxOp(fmt.Sprint("event", seq), "1")}
	for i, k := range keys {
		ops = append(ops, v2Op(int32(i), k, content))
	}
	return eventOf(seq, run, ops...)
}

// saying is ev with the content hash of another.
func saying(other, ev wire.Event) wire.Event {
	ev.ContentHash, ev.GivenHash = other.ContentHash, true
	return ev
}

func TestAnIdempotencyKeyIsUsedOnceAndGuardsItsWholeEvent(t *testing.T) {
	t.Parallel()
	first := keyedEvent(1, "first", "1", "k")
	for _, tt := range []struct {
		name   string
		second wire.Event
		runs   string
		keys   string
	}{
		{"the same key, with other content", keyedEvent(2, "second", "2", "k"), "first", "k:1"},
		{"the same key, with the same content", saying(first, keyedEvent(2, "second", "1", "k")), "first", "k:1"},
		{"another key", keyedEvent(2, "second", "1", "k2"), "first,second", "k:1,k2:2"},
		{"a key that differs in case", keyedEvent(2, "second", "2", "K"), "first,second", "K:2,k:1"},
		{"no key", keyedEvent(2, "second", "1", ""), "first,second", "k:1"},
		{"several keys, none of them used", keyedEvent(2, "second", "2", "a", "z", "", "l"), "first,second", "a:2,k:1,l:2,z:2"},
		{"several keys, one of them used", keyedEvent(2, "second", "2", "a", "k", "z"), "first", "k:1"},
		{"several keys, one of them used with the same content", saying(first, keyedEvent(2, "second", "1", "a", "k")), "first", "k:1"},
		{"one key twice", keyedEvent(2, "second", "2", "z", "z"), "first,second", "k:1,z:2"},
	} {
		for _, batches := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s, in %d batches", tt.name, batches), func(t *testing.T) {
				t.Parallel()
				s, _, look := ready(t)
				term := acquire(t, s, 0)
				third := keyedEvent(3, "third", "3", "a") // which one of the cases uses, and then does not
				if batches == 1 {
					commit(t, s, &term, first, tt.second, third)
				} else {
					commit(t, s, &term, first)
					commit(t, s, &term, tt.second)
					commit(t, s, &term, third)
				}
				runs, keys := tt.runs, tt.keys
				if !strings.Contains(tt.keys, "a:2") {
					runs, keys = runs+",third", strings.TrimPrefix(strings.Replace(","+keys, ",k:1", ",a:3,k:1", 1), ",")
				}
				require.Equal(t, runs, savedRuns(t, look))
				require.Equal(t, keys, keyUsers(t, look))
				require.Equal(t, len(strings.Split(runs, ",")), one[int](t, look, "SELECT COUNT(*) FROM events_outbox"), "the outbox too")
				require.EqualValues(t, 3, position(t, s, 0), "the position passes a duplicate")

				was := dump(t, look)
				rewind(t, look, 0, 0)
				term.Position = 0
				commit(t, s, &term, first, tt.second, third)
				require.Equal(t, was, dump(t, look), "a replay decides the same")
			})
		}
	}
}

func TestAKeyThatLangGraphGoUsedIsADuplicate(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	old := langGraph{look}
	for _, key := range []string{"k", "", "z "} {
		require.NoError(t, old.saveCheckpointV2(t, "theirs"+key, 1, key, "1"))
	}
	term := acquire(t, s, 0)
	commit(t, s, &term, keyedEvent(1, "ours", "1", "k"), keyedEvent(2, "ours without", "1", ""), keyedEvent(3, "ours padded", "1", "z"))
	require.Equal(t, "ours without", savedRuns(t, look), "the database does not tell a key from one with a space after it; none is none")
	require.ErrorContains(t, old.saveCheckpointV2(t, "theirs", 2, "k", "1"), "Duplicate entry")
	commit(t, s, &term, keyedEvent(4, "ours", "1", "mine"))
	require.ErrorContains(t, old.saveCheckpointV2(t, "theirs", 2, "mine", "1"), "Duplicate entry", "nor is ours free for it")
}

func TestAnEventThatFailsLeavesNoKeyBehind(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	requireClass(t, batcher.Never, s.Commit(t.Context(), batch(term, keyedEvent(1, "run", `{`, "k"))))
	commit(t, s, &term, begin(2, "run", 2))
	requireClass(t, batcher.Refused, s.Commit(t.Context(), batch(term, keyedEvent(3, "run", "1", "k"), keyedEvent(4, "other", "1", "l"))))
	require.Empty(t, keyUsers(t, look))
	commit(t, s, &term, keyedEvent(5, "other", "2", "k", "l"))
	require.Equal(t, "k:5,l:5", keyUsers(t, look))
}

func TestAnEventIsNotInItsOwnWayWhenItIsAppliedAgain(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	events := []wire.Event{keyedEvent(1, "run", "1", "k"), keyedEvent(2, "other", "1", "l", "m")}
	commit(t, s, &term, events...)
	was := dump(t, look, "id", "ord")
	exec(t, look, "DELETE FROM workflow_steps") // tables that were lost, or restored from an older day
	exec(t, look, "DELETE FROM workflow_checkpoints_v2")
	exec(t, look, "DELETE FROM events_outbox")
	exec(t, look, "DELETE FROM idempotency_keys WHERE key_value='m'")
	rewind(t, look, 0, 0)
	term.Position = 0
	commit(t, s, &term, events...)
	require.Equal(t, was, dump(t, look, "id", "ord"))
}

func TestAKeyWaitsForWhoeverHasItAndHasNotCommitted(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprintf("who commits: %t", commits), func(t *testing.T) {
			t.Parallel()
			s, _, look := ready(t)
			term := acquire(t, s, 0)
			other, err := look.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = other.ExecContext(t.Context(), "INSERT INTO idempotency_keys (key_value) VALUES ('k')")
			require.NoError(t, err)
			done := make(chan error)
			b := batch(term, keyedEvent(1, "before", "1", "a"), keyedEvent(2, "run", "1", "k"), keyedEvent(3, "both", "1", "b", "k"))
			go func() { done <- s.Commit(t.Context(), b) }()
			awaitLockWait(t, look)
			if commits {
				require.NoError(t, other.Commit())
			} else {
				require.NoError(t, other.Rollback())
			}
			require.NoError(t, <-done, "the race is decided within the commit")
			if commits {
				require.Equal(t, "a:1,k:0", keyUsers(t, look))
				require.Equal(t, "before", savedRuns(t, look))
			} else {
				require.Equal(t, "a:1,k:2", keyUsers(t, look))
				require.Equal(t, "before,run", savedRuns(t, look))
			}
		})
	}
}

func TestARaceLostInALaterStatementIsDecidedByTheNextAttempt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	term := acquire(t, s, 0)
	var ops []wire.Op
	for i := range 7000 { // their keys, escaped, need two statements
		ops = append(ops, v2Op(int32(i), fmt.Sprintf("%05d%s", i, strings.Repeat("'", 250)), "1"))
	}
	other, err := look.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = other.ExecContext(t.Context(), "INSERT INTO idempotency_keys (key_value) VALUES (?)", ops[6999].V2.Key)
	require.NoError(t, err)
	done := make(chan error)
	b := batch(term, eventOf(1, "run", ops...), eventOf(2, "other", stepOp(1, "1")))
	go func() { done <- s.Commit(t.Context(), b) }()
	awaitLockWait(t, look)
	require.NoError(t, other.Commit())
	requireClass(t, batcher.Again, <-done)
	require.NoError(t, s.Commit(t.Context(), b))
	require.Equal(t, 1, one[int](t, look, "SELECT COUNT(*) FROM idempotency_keys"))
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_checkpoints_v2"))
	require.Equal(t, "other", savedRuns(t, look))
}

func TestOfPartitionsThatRaceForKeysOneWins(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	const rounds, partitions = 60, 3
	event := func(no, round int, seq uint64) []wire.Event {
		// Each round all want one key alone, and sets of keys that overlap.
		key := func(name string) string { return fmt.Sprintf("%03d%s", round, name) }
		sets := [][]string{{key("x"), key("y")}, {key("y"), key("z")}, {key("z"), key("x")}}
		return []wire.Event{
			keyedEvent(seq, fmt.Sprintf("one-%03d-%d", round, no), fmt.Sprint(no), key("one")),
			keyedEvent(seq+1, fmt.Sprintf("set-%03d-%d", round, no), fmt.Sprint(no), sets[no]...),
		}
	}
	var g errgroup.Group
	for no := range partitions {
		term := acquire(t, s, no)
		g.Go(func() error {
			for round := range rounds {
				b := batch(term, event(no, round, uint64(1000*(no+1)+2*round))...)
				for {
					err := s.Commit(t.Context(), b)
					var e *batcher.Error
					if errors.As(err, &e) && e.Class == batcher.Again {
						continue // as the batcher does
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
	require.Equal(t, rounds, one[int](t, look, "SELECT COUNT(*) FROM workflow_steps WHERE run_id LIKE 'one-%'"), "one winner a round")
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM (SELECT SUBSTRING(run_id, 5, 3) r, COUNT(*) n FROM workflow_steps GROUP BY"+
		" SUBSTRING(run_id, 1, 7), r) x WHERE n<>1"), "and of sets that overlap pairwise one, too")
	require.Zero(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_checkpoints_v2 v LEFT JOIN idempotency_keys k"+
		" ON k.key_value=v.idempotency_key AND k.log_seq=v.log_seq AND k.run_id=v.run_id WHERE k.key_value IS NULL"), "who is written has its keys")
	require.Equal(t, one[int](t, look, "SELECT COUNT(*) FROM workflow_checkpoints_v2"), one[int](t, look, "SELECT COUNT(*) FROM idempotency_keys"),
		"and who is not has none")
	require.Equal(t, 2*rounds, one[int](t, look, "SELECT COUNT(*) FROM events_outbox"))
}
