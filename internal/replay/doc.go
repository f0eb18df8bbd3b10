// Package replay applies a part of the log again: to the database that has it already, or to another one. It is pure: it knows no NATS and no
// SQL.
//
//	for each partition:
//	    Log.Range ──events──▶ wanted? no dead letter? ──▶ batcher.Batcher ──batches──▶ Target.Apply: rows + progress, one transaction
//
// It needs no lease and moves no position: what keeps order is that a row never goes back (I4), whoever writes it. How far it is stands in
// the target database, so that it goes on there after whatever ended it.
//
// What the daemon has not committed yet is the daemon's: a replay ends at the position, or, in a database that no daemon applies this log
// to, at the log's end as of the replay's start.
//
// What is not applied. An event that has a dead letter never was. One that the target refuses, because the attempt that it is of is over or the
// database cannot hold it, makes no dead letter: it is counted and shown. The outbox and idempotency keys need a rule, for their rows are
// removed after a while, and then an event looks as if it were new: see [Rules].
package replay
