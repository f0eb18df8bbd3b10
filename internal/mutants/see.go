package main

// I4: log order.
var keepsOrder = []Mutant{
	{
		Breaks: "I4", Name: "of two writes to a step the earlier is read", Quick: true, File: "internal/readpath/candidates.go",
		Old:    "s.Attempt == row.Attempt && s.Step >= row.Step",
		New:    "s.Attempt == row.Attempt && s.Step > row.Step",
		Caught: []Tests{by("internal/readpath", "TestI6LatestIsTheRowAndTheTailAfterThePosition")},
	},
	{
		Breaks: "I4", Name: "a row takes any write", File: "internal/mysqlstore/rows.go",
		Old: `const notOlder = "(VALUES(log_gen), VALUES(log_seq)) >= (log_gen, log_seq)"`,
		New: `const notOlder = "1=1"`,
		Caught: []Tests{
			by("internal/mysqlstore", "TestI4AnOlderSequenceNeverOverwritesANewerOne"),
			by("cmd/persistd", "TestI4ReplayNeverGoesBack"),
		},
	},
	{
		Breaks: "I4", Name: "sequences are compared without their stream", File: "internal/mysqlstore/rows.go",
		Old: `const notOlder = "(VALUES(log_gen), VALUES(log_seq)) >= (log_gen, log_seq)"`,
		New: `const notOlder = "VALUES(log_seq) >= log_seq"`,
		Caught: []Tests{
			by("internal/mysqlstore", "TestI4AStreamMadeAgainIsNewerThoughItCountsFromOne"),
			by("cmd/persistd", "TestI2StreamMadeAgainUnderTheDaemon"),
		},
	},
	{
		Breaks: "I4", Name: "a run that was deleted comes back in a replay", File: "internal/mysqlstore/applier.go",
		Old:    "a.place(ev).before(run.deleted)",
		New:    "run.deleted.before(place{})",
		Caught: []Tests{by("internal/mysqlstore", "TestI2I4I5ALogEndsAtTheSameRowsHoweverItIsBatchedAndApplied")},
	},
}

// I5: an event is a transaction.
var keepsWhole = []Mutant{
	{
		Breaks: "I5", Name: "parts of a transaction are given out one by one", Quick: true, File: "internal/ingest/assembly.go",
		Old:    `case part.Transaction == "":`,
		New:    `case part.No >= 0:`,
		Caught: []Tests{by("internal/ingest", "TestI5AnyLogIsAssembledAsItSays", "TestPartsAreJoinedOrOrphaned")},
	},
	{
		Breaks: "I5", Name: "of a transaction's parts only the last counts", File: "internal/wire/part.go",
		Old:    "ev.Ops = append(ev.Ops, p.Ops...)",
		New:    "ev.Ops = p.Ops",
		Caught: []Tests{by("internal/wire", "TestPartsJoinToTheWhole")},
	},
	{
		Breaks: "I5", Name: "each statement is committed by itself", File: "internal/mysqlstore/statement.go",
		Old: "err := exec(ctx, string(q))\n\tif err == nil {",
		New: "err := exec(ctx, string(q))\n\tif err == nil {\n\t\t_, _ = a.conn.ExecContext(ctx, \"COMMIT\")",
		Caught: []Tests{
			by("internal/mysqlstore", "TestI2AllTablesCommitTogetherOrNotAtAll"),
			by("cmd/persistd", "TestI5EventOfSeveralStatements"),
		},
	},
	{
		Breaks: "I5", Name: "an event whose key was used is applied all the same", File: "internal/mysqlstore/applier.go",
		Old:    "ev.Poison != nil || out[i].result != applied",
		New:    "ev.Poison != nil",
		Caught: []Tests{by("internal/mysqlstore", "TestAnIdempotencyKeyIsUsedOnceAndGuardsItsWholeEvent")},
	},
	{
		Breaks: "I5", Name: "trimming cuts a transaction in two", File: "internal/stream/trim.go",
		Old:    "keep = min(keep, s.begins(young))",
		New:    "keep = min(keep, young.Sequence)",
		Caught: []Tests{by("internal/stream", "TestTrimDoesNotCutATransactionInTwo")},
	},
	{
		Breaks: "I5", Name: "a read shows a transaction whose end is missing", File: "internal/readpath/transactions.go",
		Old:    "func (t *transactions[V, P]) all() P {\n\tt.undo()",
		New:    "func (t *transactions[V, P]) all() P {",
		Caught: []Tests{by("internal/readpath", "TestI6LatestAppliesTheTailAsItsCommitWill")},
	},
}

// I6: reads see every acknowledged write.
var readsWhatIsAcknowledged = []Mutant{
	{
		Breaks: "I6", Name: "MySQL is read before the tail", Quick: true, File: "internal/readpath/reader.go",
		Old: "if rowErr == nil && !has(pos, last) {",
		New: "if rowErr == nil && early == nil {",
		Caught: []Tests{by("internal/readpath", "TestI6RowReadBesideTheTailCountsOnlyIfTheLogShowsThatItHasAll",
			"TestI6LatestIsWhatTheWholeLogMakesItThoughTheRowIsReadEarly", "TestI6CheckpointReadBesideTheTailCountsOnlyIfTheLogShowsThatItHasAll")},
	},
	{
		Breaks: "I6", Name: "a log that has nothing of a key shows that the row has all", File: "internal/readpath/reader.go",
		Old: "return 0 < last && last <= pos",
		New: "return last <= pos",
		Caught: []Tests{by("internal/readpath", "TestI6RowReadBesideTheTailCountsOnlyIfTheLogShowsThatItHasAll",
			"TestI6LatestIsWhatTheWholeLogMakesItThoughTheRowIsReadEarly")},
	},
	{
		Breaks: "I6", Name: "the tail of a restored database is not read again", File: "internal/readpath/reader.go",
		Old:    "if pos < bound {",
		New:    "if pos < bound && p < 0 {",
		Caught: []Tests{by("internal/readpath", "TestI6TailIsReadAgainFromThePositionOfARestoredDatabase")},
	},
	{
		Breaks: "I6", Name: "the first event after the position is passed over", File: "internal/readpath/candidates.go",
		Old:    "if s.Sequence <= position ||",
		New:    "if s.Sequence <= position+1 ||",
		Caught: []Tests{by("internal/readpath", "TestI6LatestIsTheRowAndTheTailAfterThePosition", "TestI6LatestIsWhatTheWholeLogMakesIt")},
	},
	{
		Breaks: "I6", Name: "the steps of a run are read before MySQL has them", File: "internal/readpath/wait.go",
		Old:    "if pos >= last {",
		New:    "if pos >= last || p >= 0 {",
		Caught: []Tests{by("internal/readpath", "TestI6StepsAreReadOnceMySQLHasTheWholeRun", "TestI6StepsOfARestoredDatabaseWaitForTheReplay")},
	},
	{
		Breaks: "I6", Name: "a tail from a follower is taken for the whole", File: "internal/stream/tail.go",
		Old:    "for r.from < r.last.Message.Sequence {\n\t\tm, found, err := r.t.Messages.Next",
		New:    "for r.from < 0 {\n\t\tm, found, err := r.t.Messages.Next",
		Caught: []Tests{by("internal/stream", "TestTailReadsWhatAReplicaLacksFromTheLeader")},
	},
	{
		Breaks: "I6", Name: "row and position are read at two moments", File: "internal/mysqlstore/latest.go",
		Old: "func (r *reads) latestRow(ctx context.Context, at beside, step string, runIDs ...any) (row latestRow, err error) {\n",
		New: "func (r *reads) latestRow(ctx context.Context, at beside, step string, runIDs ...any) (row latestRow, err error) {\n" +
			"\tvar later uint64\n\tdefer func() {\n\t\tif err == nil {\n\t\t\terr = r.db.QueryRowContext(ctx, \"SELECT p.position FROM \"+at.table+\" p WHERE \"+at.where).Scan(&later)\n\t\t\trow.position = later\n\t\t}\n\t}()\n",
		Caught: []Tests{by("internal/mysqlstore", "TestI6RowAndPositionAreOfOneMoment")},
	},
}

// I7: poison does not spread.
var containsPoison = []Mutant{
	{
		Breaks: "I7", Name: "what the database refused is passed without a dead letter", Quick: true, File: "internal/batcher/poison.go",
		Old:    "if err := b.bury(ctx, refused); err != nil {",
		New:    "if err := ctx.Err(); err != nil {",
		Caught: []Tests{by("internal/batcher", "TestI7OneBadEventAmongAThousandStandsAlone")},
	},
	{
		Breaks: "I7", Name: "an outage is taken for poison", File: "internal/batcher/run.go",
		Old:    "case e.Class == Never && batch.Rows > 0:",
		New:    "case (e.Class == Never || e.Class == Again) && batch.Rows > 0:",
		Caught: []Tests{by("internal/batcher", "TestI7WhateverFailsEachEventMeetsItsFate", "TestOutageIsWaitedForWithCappedPauses")},
	},
	{
		Breaks: "I7", Name: "poison found at ingest is passed without a dead letter", File: "internal/batcher/poison.go",
		Old:    "if err := b.bury(ctx, poison); err != nil {",
		New:    "if err := ctx.Err(); err != nil {",
		Caught: []Tests{by("internal/batcher", "TestI7WhateverFailsEachEventMeetsItsFate", "TestI7EveryKindOfPoisonInOneBatch")},
	},
	{
		Breaks: "I7", Name: "half of a batch with poison in it is passed over", File: "internal/batcher/poison.go",
		Old:    "b.commitAll(ctx, begin, batch.Events[:half], batch.Events[half:])",
		New:    "b.commitAll(ctx, begin, batch.Events[half:])",
		Caught: []Tests{by("internal/batcher", "TestI7OneBadEventAmongAThousandStandsAlone")},
	},
	{
		Breaks: "I7", Name: "a deadlock is taken for poison", File: "internal/mysqlstore/rules.go",
		Old:    "1213: again(),",
		New:    "1213: never(),",
		Caught: []Tests{by("internal/mysqlstore", "TestADeadlockIsAgain")},
	},
	{
		Breaks: "I7", Name: "a row that is too large is taken for an outage", File: "internal/mysqlstore/rules.go",
		Old:    "4025: never(),",
		New:    "4025: again(),",
		Caught: []Tests{by("internal/mysqlstore", "TestWhatTheDatabaseRefusesInAnyTableIsNever")},
	},
}
