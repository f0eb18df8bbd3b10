package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

const (
	relayedRuns = 20
	relayedEach = 500 // events of each run: 10,000 in all
)

// Every event of a committed transaction is published at least once, those of a run in order, while the daemons that relay are killed.
func TestTheRelayLosesNoneOfTenThousandEventsWhileItIsKilled(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.makeEventStream()
	published := s.countPublished()
	relaying := []string{"PERSISTD_RELAY_MODE=on", "PERSISTD_RELAY_LEASE=1s", "PERSISTD_LEASE_DURATION=1s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=500ms"}
	var midway atomic.Int64
	relays := func(instance string, seed uint64) *mortal {
		return s.mortal(lives{
			done: published.Load, least: 500, seed: seed,
			killed: func() {
				if s.count("events_outbox", "emitted_at IS NULL AND lease_holder LIKE 'relay "+instance+"%'") > 0 {
					midway.Add(1)
				}
			},
		}, append(relaying, "PERSISTD_INSTANCE="+instance)...)
	}
	one, two := relays("one", 21), relays("two", 22)

	rounds := 0
	for ; rounds == 0 || midway.Load() < 3 && rounds < 20; rounds++ {
		var all errgroup.Group
		for run := range relayedRuns {
			all.Go(func() error { return s.saveEvents(fmt.Sprintf("run-%02d", run), rounds*relayedEach) })
		}
		require.NoError(t, all.Wait())
		require.Equal(t, (rounds+1)*relayedRuns*relayedEach, s.count("events_outbox", "TRUE"))
		s.eventually("all events are relayed and marked", func() bool { return s.count("events_outbox", "emitted_at IS NULL") == 0 })
	}
	one.stop()
	two.stop()
	require.GreaterOrEqual(t, midway.Load(), int64(3), "kills of a daemon that had claimed events and not marked them")

	next := map[string]int{}
	for _, ev := range s.eventStream() {
		var data client.Event
		require.NoError(t, json.Unmarshal(ev.Data, &data))
		require.Equal(t, fmt.Sprint(next[ev.RunID]), data.Msg, "events of %s are out of order", ev.RunID)
		next[ev.RunID]++
	}
	require.Len(t, next, relayedRuns)
	for run, n := range next {
		require.Equal(t, rounds*relayedEach, n, "events of %s", run)
	}
	total := int64(rounds * relayedRuns * relayedEach)
	s.eventually("all are counted", func() bool { return published.Load() >= total })
	t.Logf("%d events relayed, %d published, so %d twice, of which the stream kept one; %d kills, %d of them midway", total, published.Load(),
		published.Load()-total, one.kills.Load()+two.kills.Load(), midway.Load())
}

// saveEvents saves relayedEach events of a run, ten with each step, and waits until they are committed. The first has the number from.
func (s *stack) saveEvents(run string, from int) error {
	st, err := client.Open[json.RawMessage](s.t.Context(), s.url, client.WithAttemptTimeout(time.Second))
	if err != nil {
		return err
	}
	for n := from; n < from+relayedEach; n += 10 {
		err := st.WithTransaction(s.t.Context(), func(tx client.Tx[json.RawMessage]) error {
			if err := tx.SaveStep(run, n/10, "node", json.RawMessage(`{}`)); err != nil {
				return err
			}
			for i := range 10 {
				// The number of an event tells its place; its id tells that it is the same one, should the transaction be made again.
				ev := client.Event{Step: n / 10, Msg: fmt.Sprint(n + i), Meta: map[string]any{client.MetaEventID: fmt.Sprintf("%s/%d", run, n+i)}}
				if err := tx.SaveEvents(ev); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(st.Flush(s.t.Context()), st.Close(), s.committedAll(run, (from+relayedEach)/10))
}

// committedAll waits until the steps of run are in the database.
func (s *stack) committedAll(run string, steps int) error {
	for range 1200 {
		if s.rows("run_id = ?", run) == steps {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-s.t.Context().Done():
			return s.t.Context().Err()
		}
	}
	return fmt.Errorf("steps of %s are not committed", run)
}

// count counts the rows of a table; -1 while the database is away.
func (s *stack) count(table, where string) int {
	var n int
	if s.db.QueryRowContext(s.t.Context(), "SELECT COUNT(*) FROM "+table+" WHERE "+where).Scan(&n) != nil {
		return -1
	}
	return n
}

// makeEventStream makes the stream that the relay publishes to, as a user might: remembering ids for as long as the test takes.
func (s *stack) makeEventStream() {
	s.t.Helper()
	_, err := s.js.CreateStream(s.t.Context(), jetstream.StreamConfig{
		Name: "EVENTS", Subjects: []string{"persistd.events.*"}, Duplicates: time.Hour, MaxAge: 2 * time.Hour,
	})
	require.NoError(s.t, err)
}

// countPublished counts what is published, whether the stream keeps it or knows it already.
func (s *stack) countPublished() *atomic.Int64 {
	s.t.Helper()
	var n atomic.Int64
	_, err := s.nc.Subscribe("persistd.events.*", func(*nats.Msg) { n.Add(1) })
	require.NoError(s.t, err)
	require.NoError(s.t, s.nc.Flush())
	return &n
}

// eventStream is all that the stream of relayed events holds.
func (s *stack) eventStream() []wire.OutboxRecord {
	s.t.Helper()
	st, err := s.js.Stream(s.t.Context(), "EVENTS")
	require.NoError(s.t, err)
	left := st.CachedInfo().State.Msgs
	c, err := st.OrderedConsumer(s.t.Context(), jetstream.OrderedConsumerConfig{})
	require.NoError(s.t, err)
	it, err := c.Messages()
	require.NoError(s.t, err)
	defer it.Stop()
	var all []wire.OutboxRecord
	for ; left > 0; left-- {
		m, err := it.Next(jetstream.NextContext(s.t.Context()))
		require.NoError(s.t, err)
		var ev wire.OutboxRecord
		require.NoError(s.t, json.Unmarshal(m.Data(), &ev))
		require.Equal(s.t, "persistd.events."+wire.Token(ev.RunID), m.Subject())
		all = append(all, ev)
	}
	return all
}

// A replica that does not relay leaves the outbox to who reads it, and two readers never have the same events.
func TestTwoEmittersNeverHaveTheSameEvents(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	s.serveHere(hooks{})
	st := s.open(client.WithDurability(client.Committed))
	const runs, each = 10, 30
	for run := range runs {
		require.NoError(t, st.WithTransaction(t.Context(), func(tx client.Tx[json.RawMessage]) error {
			for i := range each {
				if err := tx.SaveEvents(client.Event{RunID: fmt.Sprint("run-", run), Msg: fmt.Sprint(i)}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	var (
		mu   sync.Mutex
		seen = map[string]int{}
		next = map[string]int{}
		all  errgroup.Group
	)
	for range 4 {
		emitter := s.open()
		all.Go(func() error {
			for {
				mu.Lock()
				done := len(seen) == runs*each
				mu.Unlock()
				if done {
					return nil
				}
				events, err := emitter.PendingEvents(t.Context(), 7)
				if err != nil {
					return err
				}
				var ids []string
				for _, ev := range events {
					mu.Lock()
					seen[ev.ID()]++
					if want := fmt.Sprint(next[ev.RunID]); ev.Msg != want {
						mu.Unlock()
						return fmt.Errorf("event %s of %s was given before %s", ev.Msg, ev.RunID, want)
					}
					next[ev.RunID]++
					mu.Unlock()
					ids = append(ids, ev.ID())
				}
				if err := emitter.MarkEventsEmitted(t.Context(), ids); err != nil {
					return err
				}
			}
		})
	}
	require.NoError(t, all.Wait())
	for id, n := range seen {
		require.Equal(t, 1, n, "times that event %s was given out", id)
		require.False(t, strings.ContainsAny(id, " \n"))
	}
	require.Zero(t, s.count("events_outbox", "emitted_at IS NULL"))
}

// A relay without a place for its events waits by itself for one: the log is applied and watched, and the replica is ready.
func TestARelayThatWaitsForAStreamHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	d := s.serveHere(hooks{}, "PERSISTD_RELAY_MODE=on", "PERSISTD_RELAY_MAX_BYTES=1024TiB")
	st := s.open()
	require.NoError(t, st.WithTransaction(t.Context(), func(tx client.Tx[json.RawMessage]) error {
		if err := tx.SaveStep("run", 0, "node", json.RawMessage(`{}`)); err != nil {
			return err
		}
		return tx.SaveEvents(client.Event{Msg: "0"})
	}))
	s.eventually("the log is applied", func() bool { return s.count("events_outbox", "emitted_at IS NULL") == 1 })
	require.Contains(t, d.waitingFor.Load().step, "relayed events")
	s.makeEventStream()
	s.eventually("the event is relayed", func() bool { return s.count("events_outbox", "emitted_at IS NULL") == 0 })
	require.NoError(t, d.stop())

	require.NoError(t, s.js.DeleteStream(t.Context(), "EVENTS"))
	d = s.serveHere(hooks{}, "PERSISTD_RELAY_MODE=on", "PERSISTD_RELAY_MAX_BYTES=1024TiB")
	require.NoError(t, d.stop(), "while it waits")
}
