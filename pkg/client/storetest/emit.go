package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/pkg/client"
)

func idsOf(events []client.Event) []string {
	ids := make([]string, 0, len(events))
	for _, ev := range events {
		ids = append(ids, ev.ID())
	}
	return ids
}

// emit saves n events of a run and returns their ids. When the test ends they are no longer pending.
func (s *suite) emit(t *testing.T, run string, n int) []string {
	t.Helper()
	ids, events := make([]string, n), make([]client.Event, n)
	for i := range n {
		ids[i] = fmt.Sprintf("%s-%04d", unique("event"), i)
		events[i] = event(ids[i])
	}
	saveV2(t, s.st, client.CheckpointV2[State]{RunID: run}, client.WithEvents(events...))
	t.Cleanup(func() { assert.NoError(t, s.st.MarkEventsEmitted(context.WithoutCancel(t.Context()), ids)) })
	return ids
}

// take waits until n events are there, takes them as an emitter does, and marks them.
func (s *suite) take(t *testing.T, st client.Store[State], n int) []client.Event {
	t.Helper()
	var taken []client.Event
	s.eventually(t, func(c *assert.CollectT) {
		events, err := st.PendingEvents(t.Context(), n-len(taken))
		require.NoError(c, err)
		require.NoError(c, st.MarkEventsEmitted(t.Context(), idsOf(events)))
		taken = append(taken, events...)
		require.Len(c, taken, n)
	})
	return taken
}

// requireOnly checks that those events are pending and no others: what was to save others is older than an event that is seen.
func (s *suite) requireOnly(t *testing.T, st client.Store[State], ids ...string) {
	t.Helper()
	last := unique("event")
	saveV2(t, s.st, client.CheckpointV2[State]{RunID: unique("run")}, client.WithEvents(event(last)))
	require.Equal(t, append(slices.Clone(ids), last), idsOf(s.take(t, st, len(ids)+1)))
	rest, err := st.PendingEvents(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, rest)
}
