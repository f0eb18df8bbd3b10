package main

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/mysqlstore"
)

// A table that somebody alters is made anew, too.
func TestTablesThatAreAlteredAreNoRestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tables replacing
		made := map[string]time.Time{}
		for _, name := range mysqlstore.RestorableTables {
			made[name] = time.Now()
		}
		renew := func(name string) {
			<-time.After(time.Second)
			made = maps.Clone(made)
			made[name] = time.Now()
		}
		all := len(mysqlstore.RestorableTables)
		tables.look(made)
		require.True(t, tables.look(made))
		require.Len(t, tables.waiting(), all)

		renew("workflow_steps")
		require.False(t, tables.look(made))
		require.Len(t, tables.waiting(), all-1)
		require.Zero(t, tables.begun, "the positions are where they were")
		<-time.After(forgetAlter + time.Second)
		tables.look(made)
		require.Len(t, tables.waiting(), all, "that was an ALTER TABLE, long ago")

		renew(mysqlstore.PositionsTable)
		tables.look(made)
		require.NotZero(t, tables.begun)
		require.Len(t, tables.waiting(), all-1, "nothing but the positions: it may be an ALTER TABLE")
		<-time.After(forgetPositions + time.Second)
		tables.look(made)
		require.Zero(t, tables.begun, "it was")
		<-time.After(forgetAlter)
		tables.look(made)

		renew("events_outbox")
		renew(mysqlstore.PositionsTable)
		tables.look(made)
		require.NotZero(t, tables.begun)
		require.Len(t, tables.waiting(), all-2, "a dump is loaded by name")
		made = maps.Clone(made)
		delete(made, "workflow_steps")
		tables.look(made)
		require.Contains(t, tables.waiting(), "workflow_steps", "dropped, and not made again yet")

		tables.under = true
		<-time.After(forgetAlter + time.Second)
		require.False(t, tables.over(tables.look(made)), "a table is missing")
		renew("workflow_steps")
		require.False(t, tables.over(tables.look(made)), "it may be a dump that goes on")
		<-time.After(forgetAlter)
		require.False(t, tables.over(tables.look(made)))
		<-time.After(time.Second)
		require.True(t, tables.over(tables.look(made)), "nobody has made a table for an hour: some were rebuilt")
	})
}
