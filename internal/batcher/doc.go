// Package batcher turns the events of a partition into commits: it gathers them into batches, retries what can be retried, halves
// what the database refuses until the bad event stands alone, takes out what the store refuses by name, and has both kept as dead
// letters. It is pure: it knows no NATS and no SQL, and its time can be virtual.
//
// Batching is adaptive and has no timer: while one commit is in flight the next batch fills, and when it returns, whatever is there
// goes. An idle partition commits a step at once; under load batches grow by themselves up to [Config.MaxRows] and [Config.MaxBytes].
//
//	Add ──▶ queue (bounded in bytes: Add blocks) ──▶ gather ──▶ commit ──▶ OnCommit
//	                                                   ▲          │ again, operator: wait and retry, for ever
//	                                                   │          │ never: halve; alone: dead letter, then commit past it
//	                                                   └──────────┤ refused: dead letters of those named, then the rest anew
//	                                                              └ lost, moved: Run returns, nothing is kept
package batcher
