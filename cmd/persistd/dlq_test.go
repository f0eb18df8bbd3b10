package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// dlq runs `persistd dlq` against the stack.
func (s *stack) dlq(args ...string) (string, error) {
	return s.dlqWith(nil, args...)
}

func (s *stack) dlqWith(env map[string]string, args ...string) (string, error) {
	all := map[string]string{"PERSISTD_NATS_URL": s.url}
	if args[0] == "retry" || args[0] == "edit" { // only these may need the database
		all["PERSISTD_MYSQL_DSN"] = s.dsn
	}
	maps.Copy(all, env)
	return persistd(s.t.Context(), all, append([]string{"dlq"}, args...)...)
}

func (s *stack) mustDlq(args ...string) string {
	s.t.Helper()
	out, err := s.dlq(args...)
	require.NoError(s.t, err, out)
	return out
}

// letters waits for so many letters and lists them.
func (s *stack) letters(n int) (list []letterLine) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d letters are kept and passed", n), func() bool {
		list = nil
		for line := range strings.Lines(s.mustDlq("ls", "-o", "json", "--limit=0")) {
			var l letterLine
			require.NoError(s.t, json.Unmarshal([]byte(line), &l))
			list = append(list, l)
		}
		if len(list) != n {
			return false
		}
		for _, l := range list {
			if s.position(l.Partition) < l.Sequence {
				return false
			}
		}
		return true
	})
	return list
}

func seqs(list []letterLine) (all []uint64) {
	for _, l := range list {
		all = append(all, l.Sequence)
	}
	return all
}

func decimal(seq uint64) string { return strconv.FormatUint(seq, 10) }

// latest is the run's last step, as readers are told.
func (s *stack) latest(run string) (r wire.LatestReply) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal(s.ask(run, "").Data, &r))
	return r
}

func TestDeadLettersAreListedShownAndDropped(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=2")
	m := nats.NewMsg("persistd.write.default.run.run-1")
	m.Data, m.Header = []byte(`{"step":1,"node_id":"n","state":{"patient":"secret`), nats.Header{"Nats-Msg-Id": {"abc"}, "Trace": {"1-2-3"}}
	ack, err := s.js.PublishMsg(t.Context(), m)
	require.NoError(t, err)
	notJSON := ack.Sequence
	unknown := s.publish("run-2", `{"ops":[{"op":"forget"}]}`)
	hashed := strings.Repeat("x", 300)
	token := s.publish(wire.Token(hashed), `{}`)
	list := s.letters(3)
	require.Equal(t, []uint64{notJSON, unknown, token}, seqs(list), "in the order of the log")
	require.Equal(t, "run-1", list[0].ID)
	require.Equal(t, wire.CodeNotJSON, list[0].Code)
	require.Nil(t, list[0].Body)

	table := s.mustDlq("ls")
	require.Regexp(t, `1 │ +\d │ run-1 +│ .* │ 50 B │ not_json`, table)
	require.NotContains(t, table, "secret")
	require.Equal(t, 1, strings.Count(s.mustDlq("ls", "-o", "json", "--code=unknown_op"), "\n"))
	require.Contains(t, s.mustDlq("ls", "--run=run-2"), "unknown_op")
	require.Contains(t, s.mustDlq("ls", "--run="+hashed), decimal(token))
	require.NotContains(t, s.mustDlq("ls", fmt.Sprint("--partition=", 1-list[0].Partition), "-o", "json"), `"run-1"`)
	require.Contains(t, s.mustDlq("ls", "--since=1h", "--limit=1"), "and 2 more")
	require.Empty(t, s.mustDlq("ls", "--since=1ns", "-o", "json"))

	shown := s.mustDlq("show", decimal(notJSON))
	require.Contains(t, shown, "code       not_json")
	require.Contains(t, shown, "header     Nats-Msg-Id: abc\nheader     Trace: 1-2-3\n")
	require.NotContains(t, shown, "secret", "a body may hold what not everybody may see")
	require.NotContains(t, s.mustDlq("show", decimal(notJSON), "-o", "json"), "secret")
	require.Contains(t, s.mustDlq("show", decimal(notJSON), "--body"), `{"patient":"secret`+"\n")
	_, err = s.dlq("show", "99")
	require.ErrorContains(t, err, "event 99 has no dead letter")

	_, err = s.dlq("drop")
	require.ErrorContains(t, err, "say which letters")
	require.Contains(t, s.mustDlq("drop", "--code=not_json", "--dry-run"), "would drop 1\trun-1\tnot_json")
	_, err = s.dlq("drop", decimal(notJSON))
	require.ErrorContains(t, err, "not confirmed", "nobody answers")
	s.letters(3)
	require.Equal(t, "dropped 1 dead letter\n", s.mustDlq("drop", decimal(notJSON), "--yes"))
	require.Equal(t, []uint64{unknown, token}, seqs(s.letters(2)))
	require.Equal(t, "dropped 2 dead letters\n", s.mustDlq("drop", "--all", "-y"))
	require.Empty(t, s.deadLetters())
}

// I4: the schema refused an event; it is mended, the event is applied, and what was saved since stays, for every reader, before and after.
func TestI4ARetriedDeadLetterSetsNothingBack(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	st := s.open(client.WithDurability(client.Committed))
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "short", json.RawMessage(`"first"`)))
	s.exec("ALTER TABLE workflow_steps MODIFY node_id VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL")
	old := s.publish("run", `{"run_id":"run","ops":[
		{"op":"step","step":1,"node_id":"a name that is too long","state":"old"},{"op":"step","step":2,"node_id":"a name that is too long","state":"old"}]}`)
	other := s.publish("other", `{"step":1,"node_id":"a name that is too long","state":"old"}`)
	s.letters(2)
	require.NoError(t, st.SaveStep(t.Context(), "run", 1, "short", json.RawMessage(`"new"`)))

	out, err := s.dlq("retry", "--code=refused_by_db")
	require.ErrorContains(t, err, "2 of 2 events not applied")
	require.Contains(t, out, "refused: refused_by_db: ")
	list := s.letters(2)
	require.Contains(t, list[0].Reason, "apply event", "the letter has the reason of this time")
	require.Contains(t, s.mustDlq("retry", "--all", "--dry-run"), "would be applied: 2 ops")
	require.EqualValues(t, 1, s.latest("run").Step)

	s.exec("ALTER TABLE workflow_steps MODIFY node_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL")
	require.Equal(t, fmt.Sprintf("%d\trun\tapplied\n1 event\n", old), s.mustDlq("retry", decimal(old)))
	require.Equal(t, 1, s.rows("run_id='run' AND step=1 AND CAST(state AS CHAR)='\"new\"'"), "what is newer stands")
	require.Equal(t, 1, s.rows("run_id='run' AND step=2 AND CAST(state AS CHAR)='\"old\"' AND log_seq=?", old), "what nobody has overwritten appears, in its place")
	got := s.latest("run")
	require.EqualValues(t, 2, got.Step)
	require.Equal(t, old, got.Sequence)
	require.Equal(t, []uint64{other}, seqs(s.letters(1)))
	reply, err := s.nc.Request("persistd.read.default.committed", fmt.Appendf(nil, `{"run_id":"run","sequence":%d,"wait_ms":1000}`, old), 10*time.Second)
	require.NoError(t, err)
	require.JSONEq(t, `{"committed":true}`, string(reply.Data), "whoever asks what became of it is told")

	release := s.lockPartitions() // the tail has a newer step, which no row has yet
	newer := s.publish("other", `{"step":1,"node_id":"n","state":"new"}`)
	require.Equal(t, newer, s.latest("other").Sequence)
	release()
	s.eventually("it is committed", func() bool { return s.position(0) >= newer })
	s.mustDlq("retry", "--all")
	require.Equal(t, newer, s.latest("other").Sequence, "and is what it was")
	require.Equal(t, 1, s.rows("run_id='other' AND CAST(state AS CHAR)='\"new\"'"))
	require.Empty(t, s.deadLetters())
}

// The command dies when the event is applied and its letter is still there: it is applied again, which changes nothing.
func TestARetryThatDiedIsDoneAgain(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	s.exec("ALTER TABLE workflow_checkpoints_v2 ADD CONSTRAINT own CHECK (step_id < 10)")
	body := `{"run_id":"run","ops":[{"op":"checkpoint_v2","step_id":10,"state":{},"idempotency_key":"k"},{"op":"event","event_id":"e","data":1}]}`
	seq := s.publish("run", body)
	list := s.letters(1)
	s.exec("ALTER TABLE workflow_checkpoints_v2 DROP CONSTRAINT own")
	kept, err := s.js.Stream(t.Context(), "PERSISTD_DLQ")
	require.NoError(t, err)
	letter, err := kept.GetLastMsgForSubject(t.Context(), fmt.Sprintf("persistd.dlq.0.%d", seq))
	require.NoError(t, err)
	s.mustDlq("retry", decimal(seq))
	letter.Header.Del("Nats-Expected-Last-Subject-Sequence")
	letter.Header.Del("Nats-Msg-Id")
	_, err = s.js.PublishMsg(t.Context(), &nats.Msg{Subject: letter.Subject, Header: letter.Header, Data: letter.Data}) // as if it had not been removed
	require.NoError(t, err)
	require.Equal(t, seqs(list), seqs(s.letters(1)))
	require.Equal(t, fmt.Sprintf("%d\trun\tapplied\n1 event\n", seq), s.mustDlq("retry", decimal(seq)))
	require.Equal(t, 1, s.count("workflow_checkpoints_v2", "TRUE"))
	require.Equal(t, 1, s.count("idempotency_keys", "TRUE"))
	require.Equal(t, 1, s.count("events_outbox", "TRUE"))
	require.Empty(t, s.deadLetters())
}

func TestWhatIsRefusedForItsAttemptStaysRefused(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	s.publish("run", `{"run_id":"run","attempt":2,"step":1,"node_id":"n","state":2}`)
	stale := s.publish("run", `{"run_id":"run","attempt":1,"step":5,"node_id":"n","state":1}`)
	require.Equal(t, wire.CodeAttempt, s.letters(1)[0].Code)
	_, err := s.dlq("retry", decimal(stale))
	require.ErrorContains(t, err, "1 of 1 event not applied")
	require.Equal(t, wire.CodeAttempt, s.letters(1)[0].Code)
	require.Zero(t, s.rows("step=5"))
}

func TestADeadLetterIsMendedAndApplied(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	first := s.publish("run", `{"step":1,"node_id":"n","state":{"n":1}`) // a brace is missing
	second := s.publish("run", `{"step":2,"node":"n","state":{"n":2}}`)
	s.letters(2)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o700))
		return path
	}
	_, err := s.dlq("edit", decimal(first), "--body="+write("bad.json", `{"step":1}`))
	require.ErrorContains(t, err, "would be refused as bad_body: member node_id is missing")
	s.letters(2)
	require.Contains(t, s.mustDlq("edit", decimal(first), "--body="+write("good.json", `{"step":1,"node_id":"n","state":{"n":1}}`+"\n")), "applied")
	require.Equal(t, 1, s.rows("step=1 AND log_seq=?", first))
	require.Equal(t, []uint64{second}, seqs(s.letters(1)))

	editor := func(script string) map[string]string {
		return map[string]string{"EDITOR": write("editor", "#!/bin/sh\n"+script)}
	}
	_, err = s.dlqWith(nil, "edit", decimal(second))
	require.ErrorContains(t, err, "neither $VISUAL nor $EDITOR is set")
	_, err = s.dlqWith(editor("true"), "edit", decimal(second))
	require.ErrorContains(t, err, "nothing was changed")
	_, err = s.dlqWith(editor(`echo broken > "$1"`), "edit", decimal(second))
	require.ErrorContains(t, err, "would be refused as not_json")
	_, draft, ok := strings.Cut(err.Error(), "what you wrote is in ")
	require.True(t, ok, "%v", err)
	draft = strings.TrimSuffix(draft, ")")
	require.FileExists(t, draft)
	require.NoError(t, os.Remove(draft))
	out, err := s.dlqWith(editor(`sed -i 's/"node"/"node_id"/' "$1"`), "edit", decimal(second))
	require.NoError(t, err)
	require.Contains(t, out, fmt.Sprintf("%d\trun\tapplied", second))
	require.Equal(t, 1, s.rows("step=2 AND node_id='n' AND log_seq=?", second))
	require.Empty(t, s.deadLetters())
}

// I5: the letters of a transaction in parts are one event again.
func TestI5ARetriedTransactionInPartsIsOneEvent(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	st := s.open()
	require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), "run", 1, "n", json.RawMessage(`{}`)))
	s.exec("ALTER TABLE workflow_steps ADD CONSTRAINT own CHECK (step < 10)")
	err := st.WithTransaction(client.ContextWithDurability(t.Context(), client.Committed), func(tx client.Tx[json.RawMessage]) error {
		for step := range 4 {
			if err := tx.SaveStep("run", 7+step, "n", noise(900_000+step)); err != nil {
				return err
			}
		}
		return nil
	})
	require.ErrorIs(t, err, client.ErrRejected)
	n := len(s.deadLetters())
	require.Greater(t, n, 1)
	list := s.letters(n)
	require.Regexp(t, fmt.Sprintf(`^\S+ 1 of %d$`, n), list[0].Part)
	s.exec("ALTER TABLE workflow_steps DROP CONSTRAINT own")
	out := s.mustDlq("retry", decimal(list[1].Sequence))
	require.Equal(t, fmt.Sprintf("%d\trun\tapplied\n1 event\n", list[n-1].Sequence), out)
	require.Equal(t, 4, s.rows("log_seq=?", list[n-1].Sequence))
	require.Equal(t, 1, s.rows("step=10 AND CAST(state AS CHAR)=?", string(noise(900_003))))
	require.Empty(t, s.deadLetters())
}

func TestTheLettersOfHalfATransactionAreNotApplied(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	m := nats.NewMsg("persistd.write.default.run.run")
	m.Data = []byte(`{"run_id":"run","ops":[{"op":"step","step":1,"node_id":"n","state":1}]}`)
	m.Header.Set(wire.HeaderPart, "tx 2 of 2")
	_, err := s.js.PublishMsg(t.Context(), m)
	require.NoError(t, err)
	list := s.letters(1)
	out, err := s.dlq("retry", "--all")
	require.ErrorContains(t, err, "1 of 1 event not applied")
	require.Contains(t, out, "there are not the letters of each")
	require.Equal(t, seqs(list), seqs(s.letters(1)))
	require.Zero(t, s.rows("TRUE"))
}
