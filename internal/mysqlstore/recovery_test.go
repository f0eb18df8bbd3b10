package mysqlstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func TestAPositionIsKeptWithTheTimeOfItsEvent(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	term := acquire(t, s, 1)
	require.True(t, term.Logged.IsZero(), "nothing was committed")
	commit(t, s, &term, save(3, "run", 1, `1`), save(5, "run", 2, `1`))
	want := wire.Place{Sequence: 5, Logged: created.Add(5 * time.Millisecond).Truncate(time.Microsecond)}
	place, err := s.Place(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, want, place)
	rows, err := s.PositionsOf(t.Context(), testLog)
	require.NoError(t, err)
	require.Equal(t, want, wire.Place{Sequence: rows[1].Position, Logged: rows[1].Logged})

	require.NoError(t, s.Release(t.Context(), term))
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	require.Equal(t, want, acquire(t, two, 1).Place())
	exec(t, look, "UPDATE persistd_partitions SET position=9 WHERE partition_no=1") // by hand, or by a version that knows of no time
	place, err = s.Place(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, wire.Place{Sequence: 9}, place, "the time is of another position")
}

func TestADatabaseKeepsTheIdentityThatItsFirstMigrationGaveIt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	id, err := s.Identity(t.Context())
	require.NoError(t, err)
	require.Len(t, id, 36)
	exec(t, look, "DELETE FROM "+versionTable+" WHERE version_id>=16") // as when it was interrupted at its end
	require.NoError(t, s.Migrate(t.Context()))
	again, err := s.Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, id, again)
	other, _, _ := ready(t)
	elsewhere, err := other.Identity(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, id, elsewhere)

	exec(t, look, "DELETE FROM persistd_database")
	_, err = s.Identity(t.Context())
	requireClass(t, batcher.Operator, err)
	require.ErrorContains(t, err, "give it one: INSERT INTO")
}

func TestAGapStaysUntilItIsAcceptedAndIsRecordedOnce(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	at := created.Truncate(time.Microsecond)
	gap := Gap{
		Stream: "PERSISTD", Created: at, Partition: 2, Why: "trimmed",
		After: wire.Place{Sequence: 5}, Through: wire.Place{Sequence: 9, Logged: at.Add(time.Second)},
	}
	other := gap
	other.Partition, other.After.Logged = -1, at
	for _, want := range []bool{true, false} {
		for _, g := range []*Gap{&gap, &other} {
			fresh, err := s.RecordGap(t.Context(), g)
			require.NoError(t, err)
			require.Equal(t, want, fresh)
		}
	}
	open, err := s.Gaps(t.Context(), "PERSISTD", true)
	require.NoError(t, err)
	require.Len(t, open, 2)
	require.Equal(t, other.After, open[1].After)
	id := open[0].ID
	open[0].ID, open[0].FoundAt = 0, time.Time{}
	require.Equal(t, gap, open[0])

	require.NoError(t, s.AcceptGaps(t.Context(), "somebody", []uint64{id}))
	require.NoError(t, s.AcceptGaps(t.Context(), "somebody else", []uint64{id}))
	open, err = s.Gaps(t.Context(), "PERSISTD", true)
	require.NoError(t, err)
	require.Len(t, open, 1)
	fresh, err := s.RecordGap(t.Context(), &gap)
	require.NoError(t, err)
	require.False(t, fresh, "an accepted gap that is found again stays accepted")
	all, err := s.Gaps(t.Context(), "PERSISTD", false)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "somebody", all[0].AcceptedBy)
	none, err := s.Gaps(t.Context(), "ANOTHER", false)
	require.NoError(t, err)
	require.Empty(t, none)
}

// I4, I3: the log lost what came after 6 and gives those sequences out again.
func TestI4ALogThatLostItsEndIsAnotherOnceThatIsAccepted(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(3, "run", 1, `"old"`), save(9, "run", 2, `"lost"`), save(10, "run", 3, `"lost"`))
	plan := LostEnd{From: make([]wire.Place, 4), To: make([]wire.Place, 4)}
	plan.From[0] = wire.Place{Sequence: 9}
	plan.To[0] = wire.Place{Sequence: 3, Logged: created.Add(3 * time.Millisecond).Truncate(time.Microsecond)}
	_, err := s.AcceptLostEnd(t.Context(), testLog, plan)
	requireClass(t, batcher.Operator, err)
	require.ErrorContains(t, err, "partition 0 is no longer at 9")
	rows, err := s.PositionsOf(t.Context(), testLog)
	require.NoError(t, err)
	require.EqualValues(t, 10, rows[0].Position, "nothing has happened")
	require.EqualValues(t, 1, rows[0].Generation)

	plan.From[0] = term.Place()
	generation, err := s.AcceptLostEnd(t.Context(), testLog, plan)
	require.NoError(t, err)
	require.Greater(t, generation, uint32(1))
	requireClass(t, batcher.Lost, s.Commit(t.Context(), batch(term, save(11, "run", 4, `1`))))

	rows, err = s.PositionsOf(t.Context(), testLog)
	require.NoError(t, err)
	require.Empty(t, rows[0].Owner, "nobody's term goes on")
	require.Greater(t, rows[0].Epoch, term.Epoch)
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.Register(t.Context(), testLog))
	require.NoError(t, s.Register(t.Context(), testLog))
	present, err := s.presentGeneration()
	require.NoError(t, err)
	require.Equal(t, generation, present)
	now := acquire(t, two, 0)
	require.Equal(t, plan.To[0], now.Place())
	commit(t, two, &now, save(7, "run", 2, `"new"`))
	require.Equal(t, `"new"`, readRow(t, look, "run", 2).state)
	require.EqualValues(t, generation, readRow(t, look, "run", 2).gen)
	require.Equal(t, `"lost"`, readRow(t, look, "run", 3).state, "what the log lost the database keeps")
	rows, err = s.PositionsOf(t.Context(), testLog)
	require.NoError(t, err)
	for _, r := range rows {
		require.Equal(t, generation, r.Generation)
	}
	former, err := s.Former(t.Context(), testLog)
	require.NoError(t, err)
	require.Nil(t, former, "it is the same stream")
}

// A replica that looked up the generation just before the log was registered again must not set the partitions back to it.
func TestI4ARegistrationThatIsOvertakenDoesNotSetTheGenerationBack(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	_, err := s.AcceptLostEnd(t.Context(), testLog, LostEnd{From: make([]wire.Place, 4), To: make([]wire.Place, 4)})
	require.NoError(t, err)
	exec(t, look, "UPDATE persistd_streams SET registration=registration+10 WHERE registration=0") // what it looked up is the former
	require.NoError(t, s.Register(t.Context(), testLog))
	rows, err := s.PositionsOf(t.Context(), testLog)
	require.NoError(t, err)
	require.Greater(t, rows[0].Generation, uint32(1))
}

func TestTheLogBeforeIsKnownByHowFarItGot(t *testing.T) {
	t.Parallel()
	s, _, _ := ready(t)
	former, err := s.Former(t.Context(), testLog)
	require.NoError(t, err)
	require.Nil(t, former)
	for no, seq := range []uint64{4, 8, 6} {
		term := acquire(t, s, no)
		commit(t, s, &term, save(seq, "run", int32(seq), `1`))
	}
	renewed := testLog
	renewed.Created = created.Add(time.Hour)
	for range 2 {
		former, err = s.Former(t.Context(), renewed)
		require.NoError(t, err)
		require.Equal(t, &Former{
			Created: created.Truncate(time.Microsecond), Generation: 1,
			Position: wire.Place{Sequence: 8, Logged: created.Add(8 * time.Millisecond).Truncate(time.Microsecond)},
		}, former)
		require.NoError(t, s.Register(t.Context(), renewed))
	}
	former, err = s.Former(t.Context(), testLog)
	require.NoError(t, err)
	require.Nil(t, former, "a later one is none")
}

// I4: a copy holds events that are in the database already; under its own generation they would be newer than what came after them.
func TestI4ACopyOfALogGoesOnWhereTheLogWas(t *testing.T) {
	t.Parallel()
	s, dsn, look := ready(t)
	term := acquire(t, s, 0)
	commit(t, s, &term, save(3, "run", 1, `"older"`), save(9, "run", 1, `"newer"`))
	renewed := testLog
	renewed.Created = created.Add(time.Hour)
	at := make([]wire.Place, 4)
	at[0] = wire.Place{Sequence: 9, Logged: created.Add(9 * time.Millisecond).Truncate(time.Microsecond)}
	require.NoError(t, s.RegisterAt(t.Context(), renewed, at))
	now := acquire(t, s, 0)
	require.Equal(t, at[0], now.Place())
	require.Zero(t, acquire(t, s, 1).Place())
	commit(t, s, &now, save(10, "run", 2, `1`))
	two := open(t, dsn, owner("two"))
	require.NoError(t, two.RegisterAt(t.Context(), renewed, at), "it is there by now")
	rows, err := two.PositionsOf(t.Context(), renewed)
	require.NoError(t, err)
	require.EqualValues(t, 10, rows[0].Position)
	require.EqualValues(t, 2, readRow(t, look, "run", 2).gen)
	require.Equal(t, `"newer"`, readRow(t, look, "run", 1).state)
}

func TestI2WhatOtherPartitionsCommitWhileADumpIsLoadedDoesNotEndIt(t *testing.T) {
	t.Parallel()
	s, _, look := ready(t)
	unrestored := func(partition int) []string {
		tables, err := s.Unrestored(t.Context(), partition)
		require.NoError(t, err)
		return tables
	}
	exec(t, look, "UPDATE persistd_partitions SET updated_at=UTC_TIMESTAMP(6)+INTERVAL 1 SECOND") // later than the tables were made
	require.Empty(t, unrestored(1), "nothing is restored")
	require.Eventually(t, func() bool {
		var later bool
		require.NoError(t, look.QueryRow("SELECT MAX(updated_at) < UTC_TIMESTAMP(6)-INTERVAL 1 SECOND FROM persistd_partitions").Scan(&later))
		return later
	}, time.Minute, 10*time.Millisecond)
	exec(t, look, "CREATE TABLE loaded LIKE persistd_partitions")
	exec(t, look, "INSERT INTO loaded SELECT * FROM persistd_partitions")
	exec(t, look, "DROP TABLE persistd_partitions")
	exec(t, look, "RENAME TABLE loaded TO persistd_partitions")
	require.Contains(t, unrestored(1), "workflow_steps", "the positions are loaded, and the rows are not")
	exec(t, look, "UPDATE persistd_partitions SET updated_at=UTC_TIMESTAMP(6)+INTERVAL 2 SECOND WHERE partition_no=0")
	require.Contains(t, unrestored(1), "workflow_steps", "another partition has committed meanwhile")
	require.Empty(t, unrestored(0), "who has committed since is not asked to wait")
}
