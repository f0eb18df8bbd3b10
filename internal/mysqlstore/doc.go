// Package mysqlstore keeps what workers save, and how far each partition is, in MySQL or MariaDB. It is the only package that knows SQL,
// and the only one that says what a database error means ([Classify]). It knows no NATS.
//
//	persistd_streams           a stream that was registered ── its generation
//	   │ 1:n
//	persistd_partitions        position, lease and fence of one partition, in one row
//	   │ committed together (I2)
//	workflow_steps             one row per run and step ┐
//	workflow_checkpoints       one per name             ├ each with the sequence and generation that wrote it (I4)
//	workflow_checkpoints_v2    one per run and step     ┘
//	idempotency_keys           one per key that was used, with the event that used it
//	events_outbox              one per event to be emitted, in the order of ord
//	persistd_runs              one per run that began an attempt or was deleted
//	persistd_replays           how far each partition of a replay is, moved with the rows
//
// A commit is one transaction:
//
//	UPDATE persistd_partitions … WHERE owner, epoch, position are what the batch says     must change one row, else roll back (I3)
//	SELECT … FROM persistd_runs … FOR UPDATE                                              once any run has a row: which attempts are over
//	INSERT INTO idempotency_keys …                                                        fails when somebody has used one meanwhile
//	DELETE …                                                                              of runs that are deleted
//	INSERT INTO … ON DUPLICATE KEY UPDATE … only if not older                             table by table, a packet's worth at a time
//	COMMIT
//
// What stands between the first statement and the last is an applier's, which can also apply events that no log orders.
//
// Four pools of connections keep the parts from starving each other: commits, commits of several partitions, reads, and leases with
// everything else that is rare and must not wait. Migrations open a pool of their own.
//
// Foreign writes: LangGraph-Go's own MySQLStore may go on writing to the same tables. Its upsert knows nothing of log_seq and
// log_gen and leaves them as they are: 0 in a row that it inserts, the last event's in a row that it overwrites. So its row gives
// way to every later event, and stands until there is one.
//
// [Direct] is the same tables, rules and reads without a log: what it is given it applies at once, as one more foreign writer.
package mysqlstore
