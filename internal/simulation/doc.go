// Package simulation runs persistd against its enemies: several replicas of the real code on a log and a database in memory, in virtual
// time, through schedules of faults that are drawn from a seed. Its code is all tests.
//
//	 real                                                model
//	┌──────────────────────────────────────────────┐   ┌───────────────────────────────────────────────┐
//	│ partition.Set, batcher.Batcher, ingest.Reader,│──▶│ log: sequences, DiscardNew, duplicates, trims, │
//	│ readpath.Reader, stream.Tail, position.Tracker│   │      a leader, followers behind it, consumers  │
//	│          one of each per replica              │──▶│ database: transactions, leases by its clock,   │
//	└──────────────────────────────────────────────┘   │      restores       dead letters   workers     │
//	                                                    └───────────────────────────────────────────────┘
//
// Between the two is a network, on which each call of a replica has a fate: it is refused, lost, done without an answer, answered late, or
// done after its caller has given up; and with it may the caller die, before or after. Replicas that have all partitions read them through one
// consumer at times, and change to it and from it in the middle. Replicas are killed, stopped and continued, terminated; databases and logs go
// away; databases are restored from backups.
//
// What each event must become follows from the log alone: an oracle that applies one event after the other. After each schedule, and
// whenever a position moves, what is in the database is held against it (I1 to I5, I7), and every answer to a reader as well (I6).
//
// A simulation that finds nothing proves little, so the code is also broken on purpose, in one place at a time, and each of these
// mutations must be found within a stated number of schedules.
package simulation
