package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// replay applies a part of the log again, as an operator does.
func (s *stack) replay(args ...string) replayed {
	s.t.Helper()
	out, err := persistd(s.t.Context(), s.settings(), append([]string{"replay", "-o", "json"}, args...)...)
	require.NoError(s.t, err)
	var report replayed
	require.NoError(s.t, json.Unmarshal([]byte(out), &report), out)
	return report
}

// scalar is the one value that a query gives.
func (s *stack) scalar(query string, args ...any) (n int) {
	s.t.Helper()
	require.NoError(s.t, s.db.QueryRowContext(s.t.Context(), query, args...).Scan(&n), query)
	return n
}

// notGoingBack has the database note every row of the steps that goes back.
func (s *stack) notGoingBack() {
	s.t.Helper()
	s.migrated()
	s.exec("CREATE TABLE went_back (run_id VARCHAR(255), was BIGINT UNSIGNED, became BIGINT UNSIGNED)")
	s.exec("CREATE TRIGGER going_back BEFORE UPDATE ON workflow_steps FOR EACH ROW" +
		" INSERT INTO went_back SELECT OLD.run_id, OLD.log_seq, NEW.log_seq FROM DUAL WHERE NEW.log_seq < OLD.log_seq OR" +
		" NEW.log_seq = OLD.log_seq AND CAST(NEW.state AS CHAR) <> CAST(OLD.state AS CHAR)")
}

// The log is replayed again and again from its beginning, while workers write the same steps: no row ever goes back, the daemon keeps its
// leases and its positions.
func TestI4ReplayOfAnOldRangeNeverSetsANewerRowBack(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.notGoingBack()
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=2")
	st := s.open()
	save := func(i int) {
		_ = st.SaveStep(t.Context(), fmt.Sprintf("run-%d", i%3), i%5, "n", json.RawMessage(fmt.Sprintf(`{"i":%d}`, i)))
	}
	for i := range 100 {
		save(i)
	}
	s.matchesLog()
	before := s.partitions()
	end := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i := 100; ; i++ {
			select {
			case <-end:
				return
			default:
				save(i)
			}
		}
	})
	for range 5 {
		r := s.replay()
		require.GreaterOrEqual(t, r.Counts.Events, int64(100))
		require.Equal(t, r.Counts.Events, r.Counts.Applied)
	}
	close(end)
	writing.Wait()
	s.matchesLog()
	require.Zero(t, s.scalar("SELECT COUNT(*) FROM went_back"), "rows that went back")
	for p, at := range s.partitions() {
		require.Equal(t, before[p].Epoch, at.Epoch, "the term of partition %d goes on", p)
		require.Equal(t, before[p].Owner, at.Owner)
	}
	s.clean("--pause=0s")
}

// Rows that somebody removed or changed are mended, of every table, and nothing else is touched.
func TestReplayMendsWhatVerifyFinds(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	s.everything(s.open(client.WithMaxDepth(100)), 4, 0)
	s.clean()
	letters := len(s.deadLetters())
	for _, q := range []string{
		"DELETE FROM workflow_steps WHERE run_id IN ('run-1', 'last')", `UPDATE workflow_steps SET state='{"wrong":1}' WHERE run_id='run-2'`,
		"DELETE FROM workflow_checkpoints", "DELETE FROM workflow_checkpoints_v2", "DELETE FROM idempotency_keys WHERE key_value='key-2'",
		"DELETE FROM events_outbox",
	} {
		s.exec(q)
	}
	report, _ := s.verify("--pause=0s")
	require.Greater(t, len(report.Findings), 15)

	dry := s.replay("--dry-run")
	require.True(t, dry.DryRun)
	require.Zero(t, s.scalar("SELECT COUNT(*) FROM workflow_checkpoints"), "nothing is applied")
	require.Zero(t, s.scalar("SELECT COUNT(*) FROM persistd_replays"))
	r := s.replay()
	require.Equal(t, dry.Counts.Events, r.Counts.Events)
	require.Equal(t, dry.Counts.Ops, r.Counts.Ops)
	require.EqualValues(t, 5, r.Counts.Runs)
	require.EqualValues(t, letters, r.Counts.Letters, "what never was applied is not applied now")
	require.Zero(t, r.Counts.Refused)
	s.clean("--pause=0s")
	require.Len(t, s.deadLetters(), letters)

	events, err := s.open().PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, events, "no outbox event is emitted again")
	s.exec("DELETE FROM events_outbox")
	s.replay("--outbox=skip")
	require.Zero(t, s.scalar("SELECT COUNT(*) FROM events_outbox"))
	s.replay("--outbox=pending", "--run=run-2")
	require.Equal(t, 1, s.scalar("SELECT COUNT(*) FROM events_outbox WHERE emitted_at IS NULL"))
}

// Without their dead letters, refused events are refused once more, and are counted; no letter is made.
func TestReplayMakesNoDeadLetters(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	s.everything(s.open(client.WithMaxDepth(100)), 4, 0)
	dlq, err := s.js.Stream(t.Context(), "PERSISTD_DLQ")
	require.NoError(t, err)
	require.NoError(t, dlq.Purge(t.Context(), jetstream.WithPurgeKeep(0)))
	rows := s.table()
	r := s.replay()
	require.EqualValues(t, 3, r.Counts.Refused)
	var codes []string
	for _, f := range r.Refused {
		codes = append(codes, f.Code)
	}
	require.ElementsMatch(t, []string{wire.CodeNotJSON, wire.CodeDatabase, wire.CodeAttempt}, codes)
	require.Empty(t, s.deadLetters())
	require.Equal(t, rows, s.table())
}

// A part of the log: by run, by partition, by sequence, by time.
func TestReplayAppliesThePartThatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=4")
	var seqs []uint64
	for i := range 40 {
		seqs = append(seqs, s.publish(fmt.Sprintf("run-%d", i%4), fmt.Sprintf(`{"step":%d,"node_id":"n","state":{}}`, i)))
	}
	s.matchesLog()
	for _, row := range []struct {
		args   []string
		events int
	}{
		{[]string{"--run=run-1"}, 10},
		{[]string{"--run=run-1", "--run=run-2"}, 20},
		{[]string{fmt.Sprintf("--from-seq=%d", seqs[30])}, 10},
		{[]string{"--since=1h"}, 40},
		{[]string{"--since=2100-01-01T00:00:00Z"}, 0},
		{[]string{fmt.Sprintf("--partition=%d", wire.Partition("default", "run-3", 4)), "--run=run-3"}, 10},
	} {
		s.exec("DELETE FROM workflow_steps")
		r := s.replay(row.args...)
		require.EqualValues(t, row.events, r.Counts.Events, row.args)
		require.Equal(t, row.events, s.rows("TRUE"), row.args)
	}
}

// A new database is filled from the log, while a daemon applies it to the old one: nothing is missing there, and a daemon that goes on there
// changes nothing of it.
func TestReplayFillsANewDatabase(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{})
	st := s.open(client.WithMaxDepth(100))
	s.everything(st, 4, 0)
	dsn := stacktest.Database(t)
	_, err := persistd(t.Context(), s.settings(), "replay", "--to="+dsn)
	require.ErrorContains(t, err, "schema has migrations pending")
	r := s.replay("--to="+dsn, "--migrate", "--name=copy")
	require.Equal(t, r.Counts.Events, r.Counts.Applied+r.Counts.Same+r.Counts.Duplicates+r.Counts.Deleted)
	log, err := s.js.Stream(t.Context(), "PERSISTD")
	require.NoError(t, err)
	for _, part := range r.Parts {
		end, err := log.GetLastMsgForSubject(t.Context(), fmt.Sprintf("persistd.log.%d.>", part.Partition))
		require.NoError(t, err)
		require.Equal(t, end.Sequence, part.Until, "partition %d ends with its own last event: what lies beyond is waited for", part.Partition)
	}

	there := newStack(t, s.url, dsn)
	c := there.clean("--replay=copy", "--pause=0s")
	require.Equal(t, c.Events-c.Letters, r.Counts.Events)
	require.Equal(t, s.scalar("SELECT COUNT(*) FROM workflow_steps"), there.scalar("SELECT COUNT(*) FROM workflow_steps"))
	require.Zero(t, there.scalar("SELECT COUNT(*) FROM persistd_partitions"), "it has no positions: they are a daemon's")
	require.Zero(t, there.scalar("SELECT COUNT(*) FROM events_outbox WHERE emitted_at IS NULL"), "what the old database emits")
	require.NoError(t, d.stop())
}

// Killed in the middle, a replay goes on where it was.
func TestReplayGoesOnWhereItWasKilled(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{}, "PERSISTD_STREAM_PARTITIONS=1")
	const events = 2000
	release := s.lockPartitions() // so that they are committed at once
	for i := range events {
		_, err := s.js.PublishAsync("persistd.write.default.run.run", fmt.Appendf(nil, `{"step":%d,"node_id":"n","state":{"i":%d}}`, i, i))
		require.NoError(t, err)
	}
	<-s.js.PublishAsyncComplete()
	release()
	s.matchesLog()
	s.exec("DELETE FROM workflow_steps")

	self, err := os.Executable()
	require.NoError(t, err)
	position := func() (n int) {
		err := s.db.QueryRowContext(t.Context(), "SELECT position FROM persistd_replays WHERE name='mine'").Scan(&n)
		if err == sql.ErrNoRows {
			return 0
		}
		require.NoError(t, err)
		return n
	}
	at := 0
	for range 2 {
		c := s.start([]string{self, "replay", "--name=mine", "--rate=100"}, "PERSISTD_BATCH_ROWS=10")
		was := at
		s.eventually("it gets on", func() bool { at = position(); return at > was+50 })
		c.kill()
		// A commit that it sent may be under way: what is read for an update waits for it.
		at = s.scalar("SELECT position FROM persistd_replays WHERE name='mine' FOR UPDATE")
		require.Equal(t, at, s.rows("TRUE"), "rows and progress are one")
	}
	require.Less(t, at, events-100)
	_, err = persistd(t.Context(), s.settings(), "replay", "--name=mine", "--partition=0")
	require.ErrorContains(t, err, `replay "mine" has not come to its end and was started with {"outbox":"emitted"}`)
	r := s.replay("--name=mine")
	require.True(t, r.Resumed)
	require.EqualValues(t, events-at, r.Counts.Events, "of %d, what it had not got to", events)
	s.matchesLog()
	r = s.replay("--name=mine")
	require.False(t, r.Resumed, "it had come to its end")
	require.EqualValues(t, events, r.Counts.Events)
}

// The text for people says what was done.
func TestReplaySaysWhatItDid(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	s.publish("run", `{"step":1,"node_id":"n","state":{}}`)
	s.matchesLog()
	out, err := persistd(t.Context(), s.settings(), "replay", "-n")
	require.NoError(t, err)
	require.Regexp(t, `WOULD BE REPLAYED`, strings.ToUpper(out))
	require.Regexp(t, `ops: step +│ 1 `, out)
	out, err = persistd(t.Context(), s.settings(), "replay")
	require.NoError(t, err)
	require.Regexp(t, `in the database now +│ 1 `, out)
	for args, want := range map[string]string{
		"--from-seq=1 --since=1h": "give --from-seq or --since, not both", "--migrate": "--migrate is for --to", "--partition=99": "partition 99: the log has 8",
		"--since=yesterday": "want a time like", "--rate=NaN": "--rate must be zero or above",
	} {
		_, err := persistd(t.Context(), s.settings(), append([]string{"replay"}, strings.Fields(args)...)...)
		require.ErrorContains(t, err, want)
	}
}
