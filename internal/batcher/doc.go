// Package batcher turns the events of a partition into commits: it gathers them into batches, retries what can be retried, halves
// what the database refuses until the bad event stands alone, takes out what the store refuses by name, and has both kept as dead
// letters. It is pure: it knows no NATS and no SQL, and its time can be virtual.
//
// Batching is adaptive: while one commit is in flight the next batch fills, up to [Config.MaxRows] and [Config.MaxBytes]. A commit costs the
// database about as much as several rows do, so a batch that is not full, and that nobody waits for, lingers: commits begin [Config.Linger]
// apart. An idle partition commits a step at once. Small batches of several partitions that wait for a place at the [Gate] are one transaction.
//
//	Add ──▶ queue (bounded in bytes: Add blocks) ──▶ linger ──▶ gather ──▶ commit ──▶ OnCommit
//	                                                              ▲          │ again, operator: wait and retry, for ever
//	                                                              │          │ never: halve; alone: dead letter, then commit past it
//	                                                              └──────────┤ refused: dead letters of those named, then the rest anew
//	                                                                         └ lost, moved: Run returns, nothing is kept
package batcher
