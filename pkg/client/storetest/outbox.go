package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

// lease is long enough to look twice in it, and short enough to wait for its end.
const lease = 2 * time.Second

var outbox = []sentence{
	{"events that were saved with a checkpoint are pending, with all that they have", func(t *testing.T, s *suite) {
		run := unique("run")
		saved := client.Event{
			RunID: run, Step: 3, NodeID: "node", Msg: "é<😀>", Meta: map[string]any{client.MetaEventID: unique("event"), "n": 1.5, "list": []any{"a", nil}},
		}
		meta := maps.Clone(saved.Meta)
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 3}, client.WithEvents(saved), client.WithEvents(client.Event{Msg: "second"}))
		require.Equal(t, meta, saved.Meta, "what was passed is as it was")
		events := s.take(t, s.st, 2)
		require.Equal(t, saved, events[0])
		require.Equal(t, saved.Meta[client.MetaEventID], events[0].ID())
		require.Equal(t, "second", events[1].Msg)
		require.Equal(t, run, events[1].RunID)
		require.NotEmpty(t, events[1].ID(), "an id is drawn when there is none")
	}},
	{"events come in the order in which they were committed, over all runs", func(t *testing.T, s *suite) {
		var order []string
		stores := []client.Store[State]{s.st, s.another(t)}
		for n := range 12 {
			run := unique("run")
			ids := []string{unique("event"), unique("event")}
			saveV2(t, stores[n%2], client.CheckpointV2[State]{RunID: run}, client.WithEvents(event(ids[0]), event(ids[1])))
			order = append(order, ids...)
		}
		require.Equal(t, order, idsOf(s.take(t, s.st, len(order))))
	}},
	{"a transaction may save events alone", func(t *testing.T, s *suite) {
		run, id := unique("run"), unique("event")
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			return tx.SaveEvents(client.Event{RunID: run, Meta: map[string]any{client.MetaEventID: id}})
		}))
		events := s.take(t, s.st, 1)
		require.Equal(t, id, events[0].ID())
		require.Equal(t, run, events[0].RunID)
		requireNoRun(t, s.st, run)
	}},
	{"events without a run are of the transaction's, wherever it is said", func(t *testing.T, s *suite) {
		run := unique("run")
		require.NoError(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			return errors.Join(tx.SaveEvents(client.Event{Msg: "first"}), tx.SaveStep(run, 1, "", State{}), tx.SaveEvents(client.Event{Msg: "second"}))
		}))
		for n, ev := range s.take(t, s.st, 2) {
			require.Equal(t, run, ev.RunID)
			require.Equal(t, []string{"first", "second"}[n], ev.Msg)
		}
	}},
	{"an event that says its run, or has an id, is the same content as one that does not", func(t *testing.T, s *suite) {
		cp := full()
		saveV2(t, s.st, cp, client.WithEvents(client.Event{Msg: "done"}))
		saveV2(t, s.st, cp, client.WithEvents(client.Event{Msg: "done", RunID: cp.RunID}))
		saveV2(t, s.st, cp, client.WithEvents(event(unique("event"))))
		s.take(t, s.st, 1)
	}},
	{"a transaction that fails has no events", func(t *testing.T, s *suite) {
		run, mine := unique("run"), errors.New("mine")
		require.ErrorIs(t, s.st.WithTransaction(t.Context(), func(tx client.Tx[State]) error {
			require.NoError(t, tx.SaveEvents(client.Event{RunID: run}))
			return mine
		}), mine)
		s.requireOnly(t, s.st)
	}},
	{"a save that was done before, or is a duplicate, has no events", func(t *testing.T, s *suite) {
		cp, first := full(), unique("event")
		saveV2(t, s.st, cp, client.WithEvents(event(first)))
		saveV2(t, s.st, cp, client.WithEvents(event(unique("event"))))
		other := cp
		other.State.N = 99
		require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), other, client.WithEvents(event(unique("event")))), client.ErrDuplicate)
		require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), cp, client.WithEvents(client.Event{Msg: "other"})), client.ErrDuplicate,
			"events are content, their ids are not")
		require.ErrorIs(t, s.st.SaveCheckpointV2(t.Context(), cp), client.ErrDuplicate)
		s.requireOnly(t, s.st, first)
	}},
	{"an event whose id is there is not saved again, emitted or not", func(t *testing.T, s *suite) {
		run, id := unique("run"), unique("event")
		for n := range 2 {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n}, client.WithEvents(client.Event{Step: n, Meta: event(id).Meta}))
		}
		require.Zero(t, s.take(t, s.st, 1)[0].Step)
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 3}, client.WithEvents(event(id)))
		s.requireOnly(t, s.st)
	}},
	{"event ids that differ in anything are different", func(t *testing.T, s *suite) {
		var events []client.Event
		for _, id := range hostile {
			events = append(events, event(id))
		}
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: unique("run")}, client.WithEvents(events...))
		require.Equal(t, hostile, idsOf(s.take(t, s.st, len(hostile))))
		s.requireOnly(t, s.st)
	}},
	{"limit is how many at most, and who asks again is given the same until they are marked", func(t *testing.T, s *suite) {
		ids := s.emit(t, unique("run"), 5)
		for range 2 {
			got, err := s.st.PendingEvents(t.Context(), 2)
			require.NoError(t, err)
			require.Equal(t, ids[:2], idsOf(got))
		}
		require.NoError(t, s.st.MarkEventsEmitted(t.Context(), ids[:1]))
		got, err := s.st.PendingEvents(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, ids[1:2], idsOf(got))
		for _, limit := range []int{0, -1, 5000} {
			got, err = s.st.PendingEvents(t.Context(), limit)
			require.NoError(t, err)
			require.Equal(t, ids[1:], idsOf(got))
		}
	}},
	{"what one store was given nobody else is, nor later events of the same runs", func(t *testing.T, s *suite) {
		a, b := s.open(t, Settings{EventLease: time.Minute}), s.another(t)
		mine, others := unique("run"), unique("run")
		first := s.emit(t, mine, 2)
		got, err := a.PendingEvents(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, first[:1], idsOf(got))
		later := s.emit(t, mine, 1)
		theirs := s.emit(t, others, 2)
		s.eventually(t, func(c *assert.CollectT) {
			got, err := b.PendingEvents(t.Context(), 0)
			require.NoError(c, err)
			require.Equal(c, theirs, idsOf(got))
		})
		require.NoError(t, a.MarkEventsEmitted(t.Context(), first[:1]))
		s.eventually(t, func(c *assert.CollectT) {
			got, err := b.PendingEvents(t.Context(), 0)
			require.NoError(c, err)
			require.Equal(c, slices.Concat(first[1:], later, theirs), idsOf(got))
		})
		got, err = a.PendingEvents(t.Context(), 0)
		require.NoError(t, err)
		require.Empty(t, got)
	}},
	{"what is not marked in time is given to somebody else", func(t *testing.T, s *suite) {
		a, b := s.open(t, Settings{EventLease: lease}), s.open(t, Settings{EventLease: time.Minute})
		ids, started := s.emit(t, unique("run"), 2), time.Now()
		got, err := a.PendingEvents(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, ids[:1], idsOf(got))
		got, err = b.PendingEvents(t.Context(), 0)
		require.NoError(t, err)
		if time.Since(started) < lease { // the machine may be busy
			require.Empty(t, got)
		}
		s.eventually(t, func(c *assert.CollectT) {
			got, err := b.PendingEvents(t.Context(), 0)
			require.NoError(c, err)
			require.Equal(c, ids, idsOf(got))
		})
		got, err = a.PendingEvents(t.Context(), 0)
		require.NoError(t, err)
		require.Empty(t, got, "they are the other's now")
	}},
	{"marking takes ids again, of anybody, that do not exist, and none", func(t *testing.T, s *suite) {
		ids := s.emit(t, unique("run"), 3)
		got, err := s.st.PendingEvents(t.Context(), 0)
		require.NoError(t, err)
		require.Len(t, got, 3)
		b := s.another(t)
		require.NoError(t, b.MarkEventsEmitted(t.Context(), nil))
		for range 2 {
			require.NoError(t, b.MarkEventsEmitted(t.Context(), []string{ids[1], unique("nobody"), "", ids[1], "a\xff", strings.Repeat("x", 300)}))
		}
		require.NoError(t, b.MarkEventsEmitted(t.Context(), []string{ids[0] + " ", strings.ToUpper(ids[2])}), "these are other ids")
		got, err = s.st.PendingEvents(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, []string{ids[0], ids[2]}, idsOf(got))
	}},
	{"any number of events is given, in calls of 1000, and marked", func(t *testing.T, s *suite) {
		ids := s.emit(t, unique("run"), 2300)
		var got []string
		for len(got) < len(ids) {
			events, err := s.st.PendingEvents(t.Context(), 5000)
			require.NoError(t, err)
			require.NotEmpty(t, events)
			require.LessOrEqual(t, len(events), 1000)
			got = append(got, idsOf(events)...)
			require.NoError(t, s.st.MarkEventsEmitted(t.Context(), idsOf(events)))
		}
		require.Equal(t, ids, got)
		again := s.emit(t, unique("run"), 2300)
		require.NoError(t, s.st.MarkEventsEmitted(t.Context(), again))
		s.requireOnly(t, s.st)
	}},
	{"large events come in several calls", func(t *testing.T, s *suite) {
		run, text := unique("run"), noise(300<<10)
		for n := range 5 {
			saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n}, client.WithEvents(client.Event{Step: n, Msg: text}))
		}
		for n, ev := range s.take(t, s.st, 5) {
			require.Equal(t, n, ev.Step)
			require.Equal(t, text, ev.Msg)
		}
	}},
	{"a run that is deleted keeps its pending events, and forgets those that were emitted", func(t *testing.T, s *suite) {
		run := unique("run")
		ids := s.emit(t, run, 2)
		require.NoError(t, s.st.MarkEventsEmitted(t.Context(), ids[:1]))
		require.NoError(t, s.st.DeleteRun(t.Context(), run))
		s.requireOnly(t, s.st, ids[1])
		saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: 9}, client.WithEvents(event(ids[0])))
		s.requireOnly(t, s.st, ids[0])
	}},
	{"a copied run has no events", func(t *testing.T, s *suite) {
		run := unique("run")
		id := s.emit(t, run, 1)
		require.NoError(t, s.st.CopyRun(t.Context(), run, 1, unique("copy")))
		s.requireOnly(t, s.st, id...)
	}},
	{"emitters beside each other emit each event once, a run's in order", func(t *testing.T, s *suite) {
		runs, each := 8, 10*s.scale
		var (
			mu      sync.Mutex
			emitted = map[string][]int{}
			total   int
			workers sync.WaitGroup
		)
		for w := range 3 {
			st := s.open(t, Settings{EventLease: time.Minute})
			workers.Go(func() {
				assert.Eventually(t, func() bool {
					events, err := st.PendingEvents(t.Context(), 3+w)
					if !assert.NoError(t, err) {
						return true
					}
					mu.Lock()
					for _, ev := range events {
						emitted[ev.RunID] = append(emitted[ev.RunID], ev.Step)
						total++
					}
					done := total >= runs*each
					mu.Unlock()
					assert.NoError(t, st.MarkEventsEmitted(t.Context(), idsOf(events)))
					return done
				}, s.patience, time.Millisecond)
			})
		}
		prefix := unique("run")
		for n := range each {
			for r := range runs {
				run := fmt.Sprint(prefix, r)
				saveV2(t, s.st, client.CheckpointV2[State]{RunID: run, StepID: n}, client.WithEvents(client.Event{Step: n}))
			}
		}
		workers.Wait()
		s.requireOnly(t, s.st)
		require.Len(t, emitted, runs)
		for _, steps := range emitted {
			require.Len(t, steps, each)
			require.IsIncreasing(t, steps)
		}
	}},
}
