// Package client is what workers import: it saves the steps of workflow runs into persistd's log and loads them back.
//
//	st, err := client.Open[MyState](ctx, "nats://127.0.0.1:4222")
//	if err != nil { … }
//	defer st.Close()
//	err = st.SaveStep(ctx, "run-001", 3, "fetch", state)
//	state, step, err := st.LoadLatest(ctx, "run-001")
//
// # Stores
//
// All stores do the same, as [Store] describes it, and are exchanged by their constructor alone:
//
//	Open           the log: fast, and safe as its Durability says; MySQL follows
//	NewMySQLStore  MySQL itself, without a log: each call waits for it
//	NewMemStore    the memory of the process, for tests
//
// Package storetest tests one that somebody else writes. Package seal encrypts what any of them saves.
//
// # What an answer means
//
// SaveStep without an error means that the step is as safe as its [Durability] says: queued in this process ([Async]),
// stored in the log ([Logged], the default), or in MySQL ([Committed]). An error means that the step is not in the log and
// never will be, unless it is one of these:
//
//	ErrOutcomeUnknown  a publish went unanswered: the step may be in the log, or may still come there
//	ErrNotCommitted    the step is in the log and will be committed; waiting for that ended
//	ErrRejected        of a Committed step: it was in the log and is a dead letter now, with the reason
//
// Saving a step again is always safe: the later write of a step wins.
//
// # Order
//
// The steps of one run reach the log in the order in which they were saved, also when a publish has to be retried: at most one
// publish of a run is outstanding, the others wait behind it. Different runs do not wait for each other.
//
//	waiting ──head of its run──▶ ready ──sent──▶ outstanding ──answered──▶ settled
//	                               ▲                  │
//	                               └───── pausing ◀───┘ no answer, or refused for now
//
// All publishes of a call carry the same message id, by which the log drops what it has already. It remembers ids for the
// stream's duplicate window (2 minutes by default), so a publish that went unanswered is retried for 90 s and no longer
// ([WithRetryLimit]); one that surely did not arrive (no connection, no stream, a full log) is retried for as long as the call waits. When
// the ctx of a call ends while its publish is unanswered, the call returns [ErrOutcomeUnknown] and the client goes on until the
// outcome is known, because only then may the run's next step follow.
//
// # Bounds
//
// What is queued or outstanding is bounded in number and bytes ([WithMaxInFlight]); beyond that SaveStep waits, until its ctx ends. A
// call whose ctx has no deadline gets one ([WithTimeout]).
package client
