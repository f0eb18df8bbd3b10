package mysqlstore

import "github.com/persistd/persistd/internal/batcher"

// rule is what an error number means.
type rule struct {
	class batcher.Class
	hint  string
}

func again() rule               { return rule{class: batcher.Again} }
func never() rule               { return rule{class: batcher.Never} }
func operator(hint string) rule { return rule{class: batcher.Operator, hint: hint} }

const (
	hintGrant  = "grant the user what docs/schema.md lists for serve"
	hintLogin  = "check the user and the password of the DSN, and from which hosts the user may come"
	hintSchema = "the schema is not what this version needs: run persistd migrate"
	hintDisk   = "free disk space on the database server"
	hintBroken = "the database server's files are at fault: see its error log"
	hintServer = "this server does not understand what persistd needs: see docs/schema.md for the supported versions"
)

// rules are the error numbers that are known, of MySQL and of MariaDB. Where the two give a number different meanings, both are said.
var rules = map[uint16]rule{
	// Other transactions were in the way.
	1205: again(), // lock wait timeout
	1206: again(), // lock table full
	1213: again(), // deadlock; also a certification conflict of Galera or Group Replication
	1020: again(), // row changed since it was read (MariaDB's innodb_snapshot_isolation)
	1412: again(), // table definition changed, retry transaction
	1615: again(), // prepared statement needs to be re-prepared
	1637: again(), // too many concurrent transactions
	3058: again(), // deadlock among user locks
	3101: again(), // transaction rolled back by a plugin: Group Replication's conflict
	3572: again(), // lock not to be had at once, NOWAIT

	// The server is busy, or short of something that others give back.
	5:    again(), // out of memory
	1037: again(), // out of memory, restart and try again
	1038: again(), // out of sort memory
	1040: again(), // too many connections
	1041: again(), // out of memory
	1203: again(), // too many connections of this user
	1226: {class: batcher.Again, hint: "a resource limit of the user is reached (SHOW GRANTS): raise it or wait"},

	// The server is starting, stopping, failing over or read-only.
	1047: again(), // wsrep has not yet prepared the node (Galera); also: unknown command
	1053: again(), // shutdown in progress
	1077: again(), // normal shutdown
	1078: again(), // got signal
	1079: again(), // shutdown complete
	1080: again(), // forcing close of thread
	1290: again(), // running with --read-only: a demoted primary
	1792: again(), // read-only transaction: a replica
	1836: again(), // read-only mode
	3032: again(), // offline mode
	3100: again(), // error in a replication hook: Group Replication has no majority
	3797: again(), // Group Replication: waiting for the others before the transaction took too long
	3798: again(), // Group Replication: waiting at the transaction's begin took too long

	// The connection broke, or somebody ended the statement.
	1042: again(), // can't get hostname of the client
	1043: again(), // bad handshake
	1152: again(), // aborted connection
	1156: again(), // packets out of order
	1157: again(), // packet could not be uncompressed
	1158: again(), // error reading packets
	1159: again(), // timeout reading packets
	1160: again(), // error writing packets
	1161: again(), // timeout writing packets
	1184: again(), // aborted connection
	1189: again(), // net error reading from master
	1190: again(), // net error writing to master
	1317: again(), // query interrupted
	1927: again(), // MariaDB: connection was killed
	1969: again(), // MariaDB: max_statement_time exceeded
	2006: again(), // server has gone away; told by proxies
	2013: again(), // lost connection during query; told by proxies
	3024: again(), // MySQL: max_execution_time exceeded
	4031: again(), // MySQL: disconnected for inactivity
	9001: again(), // ProxySQL: no backend reached in time

	// The transaction could not end. Whether it did is found out by the next attempt.
	1105: again(), // unknown error
	1180: again(), // error during COMMIT
	1181: again(), // error during ROLLBACK
	1815: again(), // internal error

	// Who may not.
	1044: operator(hintGrant),                                            // access to database denied
	1045: operator(hintLogin),                                            // access denied
	1129: operator("the server blocks this host: run FLUSH HOSTS on it"), // too many connect errors
	1130: operator(hintLogin),                                            // host not allowed
	1131: operator(hintLogin),                                            // anonymous user
	1142: operator(hintGrant),                                            // command denied on table
	1143: operator(hintGrant),                                            // command denied on column
	1227: operator(hintGrant),                                            // privilege needed
	1251: operator(hintLogin),                                            // authentication protocol not supported
	1370: operator(hintGrant),                                            // command denied on routine
	1396: operator(hintLogin),                                            // operation on user failed
	1524: operator(hintLogin),                                            // authentication plugin is not loaded
	1698: operator(hintLogin),                                            // access denied, e.g. of MariaDB's root by socket
	1820: operator("the user must change its password first"),            // password reset required
	1862: operator("the user's password has expired"),                    // password expired
	1873: operator(hintLogin),                                            // access denied on change of user
	3118: operator("the user's account is locked"),                       // MySQL: account locked
	3159: operator("the server wants TLS: add tls=true to the DSN"),      // insecure transport prohibited
	4151: operator("the user's account is locked"),                       // MariaDB: account locked

	// What is not there, or not as it should be. It does not depend on the event: every one would be refused, so none is poison.
	1046: operator("the DSN names no database"),                                  // no database selected
	1048: operator(hintSchema),                                                   // column cannot be null: no value of ours is
	1049: operator("create the database that the DSN names, or correct the DSN"), // unknown database
	1054: operator(hintSchema),                                                   // unknown column
	1064: operator(hintServer),                                                   // syntax error
	1136: operator(hintSchema),                                                   // column count does not match
	1146: operator(hintSchema),                                                   // table does not exist
	1176: operator(hintSchema),                                                   // key does not exist in table
	1193: operator(hintServer),                                                   // unknown system variable
	1231: operator(hintServer),                                                   // variable cannot be set to this value
	1235: operator(hintServer),                                                   // not supported yet
	1273: operator(hintServer),                                                   // unknown collation
	1305: operator(hintServer),                                                   // function does not exist
	1356: operator("a table here is a view that its user may not write"),         // view references what is invalid or forbidden
	1364: operator("a column that persistd does not know has no default: give it one"),
	1442: operator("a trigger on a table here updates that table"),
	1471: operator("a table here is not one that can be inserted into"),
	1644: operator("a trigger refuses the row: see its message"), // SIGNAL
	1665: operator("set the server's binlog_format to ROW or MIXED: commits are READ COMMITTED"),
	1932: operator(hintBroken), // MariaDB: table does not exist in engine
	3098: operator("Group Replication refuses a table here: each needs InnoDB and a primary key"),

	// The server's disk and files.
	3:    operator(hintDisk),   // error writing file, with the system's error number
	14:   operator(hintBroken), // can't change size of file
	20:   operator(hintDisk),   // disk is full, waiting
	1016: operator(hintBroken), // can't open file
	1017: operator(hintBroken), // can't find file
	1021: operator(hintDisk),   // disk full
	1026: operator(hintDisk),   // error writing file
	1030: operator(hintDisk),   // error from storage engine, with its number
	1033: operator(hintBroken), // incorrect information in file
	1034: operator(hintBroken), // incorrect key file
	1036: operator("the table is read-only: see the server's innodb_read_only and innodb_force_recovery"),
	1114: operator(hintDisk),   // table is full
	1194: operator(hintBroken), // table is marked as crashed
	1195: operator(hintBroken), // table is marked as crashed, and repair failed

	// Data that the server will never take.
	1062: never(), // duplicate entry, in a unique key that is not ours: ours are upserted, or claimed
	1118: never(), // row size too large
	1153: never(), // packet too large: one row alone; with several in it, insert says again
	1264: never(), // out of range
	1265: never(), // data truncated
	1292: never(), // incorrect value, e.g. a time
	1300: never(), // invalid character string
	1301: never(), // result larger than max_allowed_packet
	1366: never(), // incorrect string value
	1367: never(), // illegal value
	1406: never(), // data too long
	1416: never(), // cannot get geometry object
	1690: never(), // value out of range
	3140: never(), // invalid JSON text
	3141: never(), // invalid JSON text in argument
	3144: never(), // JSON of another character set
	3150: never(), // JSON value too big
	3151: never(), // JSON key too big
	3156: never(), // invalid JSON value for CAST
	3157: never(), // JSON document too deep: 100 in MySQL
	3158: never(), // JSON document NULL key
	3819: never(), // MySQL: CHECK constraint violated
	3854: never(), // cannot convert string between character sets
	3903: never(), // invalid JSON value for CAST
	4025: never(), // MariaDB: CHECK constraint violated; its JSON is LONGTEXT with one, which takes a nesting of 31
}
