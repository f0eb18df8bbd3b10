package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/verify"
	"github.com/persistd/persistd/pkg/client"
)

// verify compares log and database as a nightly job does, and returns its report and its exit code.
func (s *stack) verify(args ...string) (verified, int) {
	s.t.Helper()
	out, err := persistd(s.t.Context(), s.settings(), append([]string{"verify", "-o", "json"}, args...)...)
	code := 0
	if err != nil {
		code = exitCode(err)
	}
	require.Less(s.t, code, 2, "verify could not look: %v", err)
	var report verified
	require.NoError(s.t, json.Unmarshal([]byte(out), &report), out)
	require.Equal(s.t, code == 0, report.Clean)
	return report, code
}

// clean checks that log and database agree.
func (s *stack) clean(args ...string) verify.Counts {
	s.t.Helper()
	report, code := s.verify(args...)
	require.Zero(s.t, code, "%+v", report.Findings)
	require.Empty(s.t, report.Findings)
	return report.Counts
}

// found are the findings, each as a line.
func (r *verified) found() []string {
	var all []string
	for _, f := range r.Findings {
		line := fmt.Sprintf("%s %s %s", f.Kind, f.Table, f.ID)
		if f.Step != nil {
			line += fmt.Sprintf(" %d", *f.Step)
		}
		if len(f.Columns) > 0 {
			line += " " + strings.Join(f.Columns, ",")
		}
		all = append(all, line)
	}
	return all
}

// everything writes some of each op: steps, saved again, checkpoints of both kinds, keys used twice, outbox events, transactions, attempts,
// deletions, poison.
func (s *stack) everything(st client.Store[json.RawMessage], runs, from int) {
	s.t.Helper()
	ctx := s.t.Context()
	committed := client.ContextWithDurability(ctx, client.Committed)
	state := func(n int) json.RawMessage {
		return json.RawMessage(fmt.Sprintf(`{"b":[%d,1.50,"é\/"],"a":{"n":%d}}`, n, n))
	}
	for i := from; i < from+runs; i++ {
		run := fmt.Sprintf("run-%d", i)
		for step := range 5 {
			require.NoError(s.t, st.SaveStep(ctx, run, step, "node", state(step)))
		}
		require.NoError(s.t, st.SaveStep(ctx, run, 2, "again", state(100)))
		require.NoError(s.t, st.SaveCheckpoint(ctx, fmt.Sprintf("mark-%d", i%3), state(i), i))
		require.NoError(s.t, st.WithTransaction(ctx, func(tx client.Tx[json.RawMessage]) error {
			_ = tx.SaveStep(run, 10, "in a transaction", state(10))
			_ = tx.SaveCheckpoint(fmt.Sprintf("tx-mark-%d", i), state(i), 1)
			return tx.SaveEvents(client.Event{Msg: "done", Meta: map[string]any{"event_id": fmt.Sprintf("event-%d", i)}})
		}))
		cp := client.CheckpointV2[json.RawMessage]{RunID: run, StepID: 1, State: state(1), RNGSeed: -7, IdempotencyKey: fmt.Sprintf("key-%d", i-i%4/3), Label: "l"}
		err := st.SaveCheckpointV2(ctx, cp)
		if i%4 == 3 {
			require.ErrorIs(s.t, err, client.ErrDuplicate, "the key of the run before")
		} else {
			require.NoError(s.t, err)
			require.NoError(s.t, st.SaveCheckpointV2(ctx, cp), "the same again")
		}
		switch i % 4 {
		case 0:
			require.NoError(s.t, st.DeleteRun(ctx, run))
			require.NoError(s.t, st.SaveStep(ctx, run, 1, "anew", state(1)))
		case 1:
			attempt, err := st.BeginAttempt(ctx, run)
			require.NoError(s.t, err)
			require.NoError(s.t, st.SaveStep(client.ContextWithAttempt(ctx, attempt), run, 3, "second try", state(3)))
			// Of nobody's attempt, by a worker that expects nothing: refused at commit.
			s.publish(run, `{"step":4,"node_id":"replaced","state":{"late":true}}`)
		case 2:
			s.publish(run, `not JSON`)
			s.publish(run, fmt.Sprintf(`{"step":9,"node_id":"n","state":%s}`, refusedState(s.t.(*testing.T))))
		}
		require.NoError(s.t, st.SaveStep(committed, "last", i, "n", state(i)))
	}
	last := map[int]uint64{}
	for _, ev := range s.log() {
		last[ev.Partition] = ev.Message.Sequence
	}
	s.reached(last)
}

// Everything that there is, and workers that go on writing meanwhile: log and database agree.
func TestVerifyFindsNothingWhereNothingIsWrong(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	st := s.open(client.WithMaxDepth(100))
	s.everything(st, 8, 0)

	end := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-end:
				return
			default:
			}
			run := fmt.Sprintf("busy-%d", i%3)
			_ = st.SaveStep(t.Context(), run, i%7, "n", json.RawMessage(fmt.Sprintf(`{"i":%d}`, i)))
			if i%50 == 49 {
				_ = st.DeleteRun(t.Context(), run)
			}
		}
	})
	for range 5 {
		c := s.clean("--pause=1s")
		require.Greater(t, c.Events, int64(80))
		require.Positive(t, c.Superseded)
		require.Positive(t, c.Deleted)
		require.EqualValues(t, 6, c.Duplicates, "two with other content, four with the same; the others of that kind are deleted")
		require.EqualValues(t, 6, c.Letters, "two of an old attempt, two that are no JSON, two that the database refuses")
		require.Greater(t, c.Scanned, int64(60))
		require.Zero(t, c.Foreign)
		s.clean("--run=run-1", "--run=run-4", "--pause=1s")
		s.clean("--sample=50%", "--pause=1s")
		s.clean("--since=1h", "--skip-extra", "--pause=1s")
	}
	close(end)
	writing.Wait()
}

// Each thing that can be wrong with a row is found, and nothing else is.
func TestVerifyFindsExactlyWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	s.everything(s.open(client.WithMaxDepth(100)), 4, 0)
	s.clean()
	ctx := t.Context()

	seqOf := func(table, where string) (seq uint64) {
		t.Helper()
		require.NoError(t, s.db.QueryRowContext(ctx, "SELECT log_seq FROM "+table+" WHERE "+where).Scan(&seq))
		return seq
	}
	other := seqOf("workflow_steps", "run_id='run-2' AND step=0")
	for _, row := range []struct {
		name, change string
		args         []any
		want         []string
	}{
		{"a step is gone", "DELETE FROM workflow_steps WHERE run_id='run-3' AND step=1", nil, []string{"missing workflow_steps run-3 1"}},
		{
			"a state is another", `UPDATE workflow_steps SET state='{"b":[0,1.50,"é/"],"a":{"n":1}}' WHERE run_id='run-3' AND step=0`, nil,
			[]string{"different workflow_steps run-3 0 state"},
		},
		{"a node is another", "UPDATE workflow_steps SET node_id='x' WHERE run_id='run-1' AND step=1", nil, []string{"different workflow_steps run-1 1 node_id"}},
		{"a row is older than its last write", "UPDATE workflow_steps SET log_seq=1 WHERE run_id='run-3' AND step=2", nil, []string{"stale workflow_steps run-3 2"}},
		{"a row was put in without persistd", "UPDATE workflow_steps SET log_seq=0, log_gen=0 WHERE run_id='run-3' AND step=3", nil, []string{"stale workflow_steps run-3 3"}},
		{
			"a row says that another event wrote it", "UPDATE workflow_steps SET log_seq=? WHERE run_id='run-1' AND step=0",
			[]any{seqOf("workflow_steps", "run_id='last' AND step=3")},
			[]string{"extra workflow_steps run-1 0"},
		},
		{
			"a row is there that no event wrote", "INSERT INTO workflow_steps (run_id, step, node_id, state, log_gen, log_seq) VALUES ('nobody', 7, 'n', '{}', 1, ?)",
			[]any{other},
			[]string{"extra workflow_steps nobody 7"},
		},
		{
			"a row is from beyond the log's end", "INSERT INTO workflow_steps (run_id, step, node_id, state, log_gen, log_seq) VALUES ('future', 7, 'n', '{}', 1, 4000000000)",
			nil,
			[]string{"extra workflow_steps future 7"},
		},
		{
			"a deleted run's row is back", "INSERT INTO workflow_steps (run_id, step, node_id, state, log_gen, log_seq) VALUES ('run-0', 4, 'n', '{}', 1, ?)",
			[]any{other},
			[]string{"extra workflow_steps run-0 4"},
		},
		{"a named checkpoint is gone", "DELETE FROM workflow_checkpoints WHERE checkpoint_id='tx-mark-2'", nil, []string{"missing workflow_checkpoints tx-mark-2"}},
		{"a named checkpoint is another", "UPDATE workflow_checkpoints SET step=99 WHERE checkpoint_id='mark-0'", nil, []string{"different workflow_checkpoints mark-0 step"}},
		{"a V2 checkpoint is gone", "DELETE FROM workflow_checkpoints_v2 WHERE run_id='run-2'", nil, []string{"missing workflow_checkpoints_v2 run-2 1"}},
		{
			"a V2 checkpoint is another", `UPDATE workflow_checkpoints_v2 SET rng_seed=8, label='', frontier='[1]', timestamp='2020-01-01' WHERE run_id='run-2'`, nil,
			[]string{"different workflow_checkpoints_v2 run-2 1 rng_seed,label,timestamp,frontier"},
		},
		{"a key is gone", "DELETE FROM idempotency_keys WHERE key_value='key-1'", nil, []string{"missing idempotency_keys key-1"}},
		{"a key has another content", "UPDATE idempotency_keys SET content_hash=UNHEX(SHA2('x', 256)) WHERE key_value='key-1'", nil, []string{"different idempotency_keys key-1 content_hash"}},
		{"an outbox event is gone", "DELETE FROM events_outbox WHERE id='event-3'", nil, []string{"missing events_outbox event-3"}},
		{"an outbox event is another", `UPDATE events_outbox SET event_data='{"x":1}' WHERE id='event-3'`, nil, []string{"different events_outbox event-3 event_data"}},
		{"a deletion is not noted", "UPDATE persistd_runs SET deleted_gen=0, deleted_seq=0 WHERE run_id='run-0'", nil, nil},
		{"an attempt is forgotten", "UPDATE persistd_runs SET attempt=0, latest_attempt=0, attempt_gen=0, attempt_seq=0 WHERE run_id='run-1'", nil, []string{"missing persistd_runs run-1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			tables := []string{"workflow_steps", "workflow_checkpoints", "workflow_checkpoints_v2", "idempotency_keys", "events_outbox", "persistd_runs"}
			for _, table := range tables {
				s.exec("DROP TABLE IF EXISTS was_" + table)
				s.exec("CREATE TABLE was_" + table + " AS SELECT * FROM " + table)
			}
			s.exec(row.change, row.args...)
			report, code := s.verify("--pause=0s")
			for _, table := range tables {
				s.exec("DELETE FROM " + table)
				s.exec("INSERT INTO " + table + " SELECT * FROM was_" + table)
			}
			require.Equal(t, 1, code)
			if row.want != nil {
				require.Equal(t, row.want, report.found())
			} else {
				require.NotEmpty(t, report.found())
			}
			t.Log(report.found())
		})
	}
	s.clean()
}

// An event that is not applied and has no dead letter is lost without a trace: that is found.
func TestVerifyFindsAnUnappliedEventWithoutItsDeadLetter(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	s.everything(s.open(client.WithMaxDepth(100)), 4, 0)
	s.clean()
	dlq, err := s.js.Stream(t.Context(), "PERSISTD_DLQ")
	require.NoError(t, err)
	require.NoError(t, dlq.Purge(t.Context(), jetstream.WithPurgeKeep(0)))
	report, code := s.verify("--pause=0s")
	require.Equal(t, 1, code)
	require.ElementsMatch(t, []string{"letter persistd_runs run-1", "letter persistd_runs ", "missing workflow_steps run-2 9"}, report.found())
}

// What cannot be looked at is not reported as agreement.
func TestVerifySaysWhenItCannotLook(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	out, err := persistd(t.Context(), s.settings(), "verify")
	require.ErrorContains(t, err, "verify: find stream PERSISTD: ")
	require.Equal(t, 2, exitCode(err))
	require.Empty(t, out)
	_, err = persistd(t.Context(), s.settings(), "verify", "--sample=200%")
	require.ErrorContains(t, err, "want more than nothing and at most all")
	require.Equal(t, 2, exitCode(err), "1 would say that something was found")
	d := s.serveHere(hooks{})
	s.publish("run", `{"step":1,"node_id":"n","state":{}}`)
	s.matchesLog()
	require.NoError(t, d.stop())
	away := s.settings()
	away["PERSISTD_MYSQL_DSN"] = "nobody@tcp(127.0.0.1:1)/nowhere"
	_, err = persistd(t.Context(), away, "verify")
	require.ErrorContains(t, err, "connection refused (is the database running, at the address in the DSN, and reachable from here?)")
	require.NotContains(t, err.Error(), "find stream", "nobody asked it for that")
	require.Equal(t, 2, exitCode(err))
	s.clean()
	s.exec("UPDATE persistd_streams SET stream='OTHER'")
	_, err = persistd(t.Context(), s.settings(), "verify")
	require.ErrorContains(t, err, "is not known here (is it the right database")
	require.Equal(t, 2, exitCode(err))
}
