package main

// I1: nothing acknowledged is lost.
var keepsWhatIsAcknowledged = []Mutant{
	{
		Breaks: "I1", Name: "the log is trimmed up to what was read, not what is committed", Quick: true, File: "internal/partition/set.go",
		Old:    "if pos.Sequence == 0 {",
		New:    "if pos.Sequence = s.workers[partition].last.Load(); pos.Sequence == 0 {",
		Caught: []Tests{by("internal/partition", "TestI1OwnedPartitionsAreTrimmedUpToThePositionInTheDatabase")},
	},
	{
		Breaks: "I1", Name: "trimming takes one event too many", File: "internal/stream/trim.go",
		Old:    "keep := position.Sequence + 1 //",
		New:    "keep := position.Sequence + 2 //",
		Caught: []Tests{by("internal/stream", "TestTrimRemovesWhatIsCommittedAndOld")},
	},
	{
		Breaks: "I1", Name: "a reader forgets an event in fifty, where everything fails", File: "internal/ingest/session.go",
		Old:    "	for i := range known {\n",
		New:    "	for i := range known {\n		if known[i].ev.Message.Sequence%50 == 0 {\n			continue\n		}\n",
		Caught: []Tests{by("internal/chaos", "TestNothingIsLost")},
		Says:   `Lost:[1-9]`, // by the ledger: readers notice as well
	},
	{
		Breaks: "I1", Name: "a full log drops its oldest events", File: "internal/stream/ensure.go",
		Old:    "Discard:           jetstream.DiscardNew,",
		New:    "Discard:           jetstream.DiscardOld,",
		Caught: []Tests{by("internal/stream", "TestEnsureMakesExactlyTheLog", "TestAFullLogRefusesAndKeeps")},
	},
	{
		Breaks: "I1", Name: "a stream that lets events expire is taken for a log", File: "internal/stream/check.go",
		Old:    `c.want(f.MaxAge == 0, "max_age", f.MaxAge, "0", whyKeeps`,
		New:    `c.want(true, "max_age", f.MaxAge, "0", whyKeeps`,
		Caught: []Tests{by("internal/stream", "TestEnsureNamesEverySettingThatBreaksAnInvariant")},
	},
	{
		Breaks: "I1", Name: "an event that does not fit into the batch is forgotten", File: "internal/batcher/run.go",
		Old:    "len(batch.Events) >= b.cfg.MaxRows {\n\t\t\treturn",
		New:    "len(batch.Events) >= b.cfg.MaxRows {\n\t\t\tb.carry = nil\n\t\t\treturn",
		Caught: []Tests{by("internal/batcher", "TestI7WhateverFailsEachEventMeetsItsFate", "TestBatchIsBoundedInBytes")},
	},
	{
		Breaks: "I1", Name: "the client takes a refusal of the log for an acknowledgement", File: "pkg/client/ack.go",
		Old:    "return pubAck{}, ackFault(ack.Error)",
		New:    "return pubAck{Stream: \"?\", Sequence: 1}, nil",
		Caught: []Tests{by("pkg/client", "TestAFullLogIsWaitedForAndReportedAtTheDeadline")},
	},
}

// I2: exactly once, by the position.
var appliesOnce = []Mutant{
	{
		Breaks: "I2", Name: "reading resumes one event too late", Quick: true, File: "internal/partition/term.go",
		Old:    "w.deps.Log.Read(reading, w.partition, term.Place(),",
		New:    "w.deps.Log.Read(reading, w.partition, Term{Position: term.Position + 1}.Place(),",
		Caught: []Tests{by("internal/partition", "TestI2EverythingIsAppliedInOrderAndOnce")},
	},
	{
		Breaks: "I2", Name: "the position is committed before the rows", File: "internal/mysqlstore/commit.go",
		Old: "runless, err := s.runs.none(ctx, conn, r, b)",
		New: "if err := end(ctx, conn, \"COMMIT\"); err != nil {\n\t\treturn err\n\t}\n\trunless, err := s.runs.none(ctx, conn, r, b)",
		Caught: []Tests{
			by("internal/mysqlstore", "TestI2RowsAndPositionCommitTogetherOrNotAtAll", "TestI2AllTablesCommitTogetherOrNotAtAll"),
			by("cmd/persistd", "TestI2KilledBetweenRowsAndCommitTwice"),
		},
	},
	{
		Breaks: "I2", Name: "a position that moved is taken for the batch's own commit", File: "internal/mysqlstore/commit.go",
		Old:    "case position != b.Last():",
		New:    "case position == b.Last()+1<<63:",
		Caught: []Tests{by("internal/mysqlstore", "TestI3ABatchThatIsNotOursWritesNothing")},
	},
	{
		Breaks: "I2", Name: "the consumer begins behind the next event", File: "internal/ingest/nats.go",
		Old:    "OptStartSeq:   from,",
		New:    "OptStartSeq:   from + 1,",
		Caught: []Tests{by("internal/ingest", "TestReadDeliversInOrderFromTheMiddle")},
	},
	{
		Breaks: "I2", Name: "a stream that was made again is read as the old one", File: "internal/ingest/session.go",
		Old:    "!made.Equal(r.cfg.Created)",
		New:    "made.IsZero()",
		Caught: []Tests{by("internal/ingest", "TestReadRefusesAnotherLog")},
	},
}

// I3: one writer per partition.
var writesAlone = []Mutant{
	{
		Breaks: "I3", Name: "a term goes on after the store said that it is over", Quick: true, File: "internal/batcher/run.go",
		Old:    "case e.Class == Lost || e.Class == Moved:",
		New:    "case e.Class == Moved && e.Number == 1:",
		Caught: []Tests{by("internal/batcher", "TestTermEndsWhenTheStoreSaysSo")},
	},
	{
		Breaks: "I3", Name: "the fence does not look at the epoch", File: "internal/mysqlstore/commit.go",
		Old:    "q = append(q, \" AND epoch=\"...)\n\tq = appendUint(q, b.Epoch)",
		New:    "",
		Caught: []Tests{by("internal/mysqlstore", "TestI3ABatchThatIsNotOursWritesNothing")},
	},
	{
		Breaks: "I3", Name: "the fence holds whatever it changed", File: "internal/mysqlstore/commit.go",
		Old: "return n == 1, err ",
		New: "return n <= 1, err ",
		Caught: []Tests{
			by("internal/mysqlstore", "TestI3ABatchThatIsNotOursWritesNothing", "TestI3ACommitThatWaitedWhileItsTermWasLostWritesNothing"),
			by("cmd/persistd", "TestI3PausedReplicaCannotWrite"),
		},
	},
	{
		Breaks: "I3", Name: "a lease is taken whoever has it", File: "internal/mysqlstore/lease.go",
		Old:    "(owner='' OR lease_until<UTC_TIMESTAMP(6) OR (? AND owner=?))",
		New:    "(1=1 OR (? AND owner=?))",
		Caught: []Tests{by("internal/mysqlstore", "TestAcquire")},
	},
	{
		Breaks: "I3", Name: "a lease that is lost ends nothing", File: "internal/partition/keep.go",
		Old:    "s.workers[t.Partition].lose(t)",
		New:    "_ = t",
		Caught: []Tests{by("internal/partition", "TestLostLeaseEndsTheTerm")},
	},
}
