// Package client is what workers import: it saves the steps and checkpoints of workflow runs into persistd's log and loads them back.
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
// A write without an error is as safe as its [Durability] says: queued in this process ([Async]), stored in the log ([Logged], the
// default), or in MySQL ([Committed]). An error means that nothing of it is in the log and never will be, unless it is one of these:
//
//	ErrOutcomeUnknown  a publish went unanswered: the write may be in the log, or may still come there
//	ErrNotCommitted    the write is in the log and will be committed; waiting for that ended
//	ErrRejected        of a write that waited for its commit: it was in the log and is a dead letter now, with the reason
//	ErrDuplicate       of a write with an idempotency key, which was used before with other content: nothing changed
//	ErrStaleAttempt    a newer attempt of the run has begun: nothing was saved
//
// Saving a step or a named checkpoint again is always safe: the later write wins.
//
// Some writes are only acknowledged when they are committed, in every durability: those that have V2 checkpoints, for only MySQL knows whether
// a key was used; deletions; and transactions with named checkpoints beside a run's writes, or more than one of them. Of a write with an
// idempotency key ErrNotCommitted says that it is in the log and will be decided, for it or against it, and ErrOutcomeUnknown not even that:
// save it again, with its key, and it is done once and the answer is what became of it. (Without a key the events that it saves are saved
// again, unless they have ids of their own.)
//
// # Transactions
//
// What one call writes is one event of the log, all or none. When it is larger than a message (the server's max_payload, 1 MiB by default,
// after compression), it is split between its writes into at most 1000 parts, which are published as one atomic batch of the log: no reader
// and no crash sees some of them. A single write must fit a message; [ErrTooLarge] names the one that does not. A batch counts as one
// step in the bounds and errors of the client, with the bytes of all its parts.
//
// # Attempts
//
// [Store.BeginAttempt] puts the beginning of the run's next attempt into the log, and only if nobody else has put one there since the newest was
// looked for; so of several who begin one at once each has its own number, and the last one the run. What an attempt writes is published
// on condition that its beginning is the last one in the log: a worker that was replaced, even one that does not know it yet, is refused by
// the log itself, before anything is stored, with [ErrStaleAttempt]. When persistd has trimmed the beginning from the log (the replay
// window is over), the client asks persistd whether the attempt is still the newest, and puts it there again.
//
// The first write of an attempt that this store did not begin ([WithAttempt], [ContextWithAttempt]) asks persistd for the run's attempt; so
// does one that is refused. All others take the one message that they are.
//
// # Order
//
// The writes of one run reach the log in the order of their calls, also when a publish has to be retried: at most one
// publish of a run is outstanding, the others wait behind it. Different runs do not wait for each other.
//
//	waiting ──head of its run──▶ ready ──sent──▶ outstanding ──answered──▶ settled
//	                              ▲ ▲                │   │
//	                              │ └─── pausing ◀───┘   │ no answer, or refused for now
//	                              └───── fencing ◀───────┘ refused because the run's last beginning is another
//
// All publishes of a call carry the same message ids, by which the log drops what it has already. It remembers ids for the
// stream's duplicate window (2 minutes by default), so a publish that went unanswered is retried for 90 s and no longer
// ([WithRetryLimit]); one that surely did not arrive (no connection, no stream, a full log) is retried for as long as the call waits. When
// the ctx of a call ends while its publish is unanswered, the call returns [ErrOutcomeUnknown] and the client goes on until the
// outcome is known, because only then may the run's next write follow.
//
// # Groups
//
// A log that fsyncs each write (sync_interval: always) would have many callers of a process queue for its fsyncs. The client notices, and
// has what was called at the same time for different runs share one: as an atomic batch of the log ([WithGroupPublish]). Nothing else
// changes. A write is logged or refused by itself, whatever becomes of those beside it, and a lone one does not wait for others.
//
// # Bounds
//
// What is queued or outstanding is bounded in number and bytes ([WithMaxInFlight]); beyond that a write waits, until its ctx ends. A
// call whose ctx has no deadline gets one ([WithTimeout]).
package client
