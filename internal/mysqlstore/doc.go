// Package mysqlstore keeps the steps, and how far each partition is, in MySQL or MariaDB. It is the only package that knows SQL, and
// the only one that says what a database error means ([Classify]). It knows no NATS.
//
//	persistd_streams      a stream that was registered ── its generation
//	   │ 1:n
//	persistd_partitions   position, lease and fence of one partition, in one row
//	   │ committed together (I2)
//	workflow_steps        the rows: one per run and step, each with the sequence and generation that wrote it (I4)
//
// A commit is one transaction:
//
//	UPDATE persistd_partitions … WHERE owner, epoch, position are what the batch says     must change one row, else roll back (I3)
//	INSERT INTO workflow_steps … ON DUPLICATE KEY UPDATE … only if not older              once per statement's worth of bytes
//	COMMIT
//
// Three pools of connections keep the parts from starving each other: commits, reads, and leases with everything else that is rare
// and must not wait. Migrations open a pool of their own.
//
// Foreign writes: LangGraph-Go's own MySQLStore may go on writing to the same tables. Its upsert knows nothing of log_seq and
// log_gen and leaves them as they are: 0 in a row that it inserts, the last event's in a row that it overwrites. So its row gives
// way to every later event, and stands until there is one.
//
// [Direct] is the same tables, rules and reads without a log: what it is given it applies at once, as one more foreign writer.
package mysqlstore
