package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// question is a read that was sent at some time, and must be answered with at least what was acknowledged before.
type question struct {
	verb  string
	least int // the version acknowledged before it was sent
	sent  time.Time
}

// interrogation is reads that anybody may answer whenever it can: a client that gives up cannot see what a replica would have said later.
type interrogation struct {
	s     *stack
	inbox string

	mu    sync.Mutex
	asked map[string]question // by reply subject; those without an answer
	late  map[string]int      // by verb, answers to questions that were sent before turn and came after it
	turn  time.Time
	wrong []string
}

func (s *stack) interrogate() *interrogation {
	s.t.Helper()
	q := &interrogation{s: s, inbox: nats.NewInbox(), asked: map[string]question{}, late: map[string]int{}}
	sub, err := s.nc.Subscribe(q.inbox+".*", q.hear)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = sub.Unsubscribe() })
	return q
}

// ask sends one question of each verb about run and checkpoint "k", which have at least the version.
func (q *interrogation) ask(version int) {
	q.s.t.Helper()
	for verb, body := range map[string]string{"latest": `{"run_id":"k"}`, "steps": `{"run_id":"k"}`, "checkpoint": `{"checkpoint_id":"k"}`} {
		reply := fmt.Sprintf("%s.%s", q.inbox, nats.NewInbox()[len("_INBOX."):])
		q.mu.Lock()
		q.asked[reply] = question{verb, version, time.Now()}
		q.mu.Unlock()
		require.NoError(q.s.t, q.s.nc.PublishRequest("persistd.read.default."+verb, reply, []byte(body)))
	}
}

func (q *interrogation) hear(m *nats.Msg) {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := q.asked[m.Subject]
	delete(q.asked, m.Subject)
	got, err := answeredVersion(asked.verb, m)
	if !q.turn.IsZero() && asked.sent.Before(q.turn) && err == nil {
		q.late[asked.verb]++
	}
	if err == nil && got < asked.least {
		q.wrong = append(q.wrong, fmt.Sprintf("%s: %d was acknowledged before it was asked, and the answer is %d", asked.verb, asked.least, got))
	}
}

// answeredVersion is what a reply says; a replica that could not answer in time says so, and that is no stale answer.
func answeredVersion(verb string, m *nats.Msg) (int, error) {
	if code := m.Header.Get(wire.HeaderErrorCode); code != "" {
		return 0, fmt.Errorf("error %s: %s", code, m.Header.Get(wire.HeaderError))
	}
	switch verb {
	case "latest":
		r, err := wire.ParseLatest(m.Data)
		return int(r.Step), err
	case "checkpoint":
		var r struct{ Checkpoint struct{ Step int } }
		err := json.Unmarshal(m.Data, &r)
		return r.Checkpoint.Step, err
	default:
		var r struct{ Steps []struct{ Step int } }
		err := json.Unmarshal(m.Data, &r)
		if err != nil || len(r.Steps) == 0 {
			return 0, err
		}
		return r.Steps[len(r.Steps)-1].Step, nil
	}
}

// A replica is stopped, with reads under way in it and more of them on their way to it, for longer than its lease. Others take over, commit
// and trim, and the last writes are only in the log. When it goes on it answers what it was asked, and every answer has what was
// acknowledged before its question.
func TestI6PausedReplicaServesNothingStale(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{
		"PERSISTD_STREAM_PARTITIONS=2", "PERSISTD_LEASE_DURATION=1s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=500ms",
		"PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=200ms",
	}
	a := s.spawn("slow:1", append(settings, "PERSISTD_INSTANCE=a")...).serving()
	s.ownedBy("a")
	s.spawn("slow:2", append(settings, "PERSISTD_INSTANCE=b")...).serving()
	s.shared("a", "b")
	st := s.open(client.WithAttemptTimeout(2 * time.Second))
	now := 0
	write := func(n int) {
		t.Helper()
		for range n {
			now++
			require.NoError(t, st.SaveStep(t.Context(), "k", now, "n", json.RawMessage(`{}`)))
			require.NoError(t, st.SaveCheckpoint(t.Context(), "k", json.RawMessage(`{}`), now))
		}
	}
	write(20)
	q := s.interrogate()
	for round := range 3 {
		for range 50 {
			q.ask(now)
		}
		s.eventually("some are answered", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.asked) < 120 })
		require.NoError(t, a.cmd.Process.Signal(syscall.SIGSTOP))
		s.eventually("a is paused", func() bool { return a.procState("State") == "T (stopped)" })
		q.mu.Lock()
		t.Logf("round %d: %d reads are under way in both", round, len(q.asked))
		q.mu.Unlock()
		for range 30 {
			write(1)
			q.ask(now)
		}
		s.ownedBy("b")
		s.eventually("all is committed", func() bool { return s.rows("step = ?", now) == 1 })
		q.mu.Lock()
		clear(q.late)
		q.turn = time.Now() // what is not answered by now is with a
		q.mu.Unlock()
		for range 20 { // these are not all committed when a goes on
			write(1)
			q.ask(now)
		}
		require.NoError(t, a.cmd.Process.Signal(syscall.SIGCONT))
		for range 20 {
			write(1)
			q.ask(now)
		}
		s.eventually("all is answered", func() bool { q.mu.Lock(); defer q.mu.Unlock(); return len(q.asked) == 0 })
		q.mu.Lock()
		t.Logf("round %d: answered by the paused replica when it went on: %v", round, q.late)
		for _, verb := range []string{"latest", "steps", "checkpoint"} {
			require.Positive(t, q.late[verb], verb)
		}
		require.Empty(t, q.wrong)
		q.mu.Unlock()
		s.shared("a", "b")
	}
	s.eventually("all is committed", func() bool { return s.rows("TRUE") == now })
	require.NoError(t, a.terminate())
}
