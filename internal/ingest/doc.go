// Package ingest reads the log: the events of a partition, decoded, in log order, each once, from any position on.
//
// [Reader.Read] is one partition's reader. It is a loop over sessions; a session is one short-lived consumer on the server, which is
// thrown away at the first doubt and made again after the event delivered last, so that nothing depends on what the server remembers:
//
//	   ┌──────────────── wait (backoff, jitter) ◀──────────────────┐
//	   ▼                                                           │ server away, connection lost, consumer gone,
//	create consumer from last+1 ──▶ same stream? ──▶ pull, deliver ┤ message missing, silence
//	                                   │ no, or none, or shorter   │
//	                                   ▼                           ├─ ctx ended ─────────▶ return its cause
//	                           return ErrOther, ErrShort           └─ deliver's error ──▶ return it
//
// A session begins when there is a connection, and ends at once when that is lost, so after a server's restart readers are back as soon as it
// answers. One that is gone without a word is noticed by its silence.
//
// Why not the client library's ordered consumer: it makes its consumer again by itself, for ever and without saying so, and would
// carry on at the same sequence of a stream that was deleted and made again.
//
// A transaction too large for one message is several, side by side in the log; they are delivered as one event once the last was read.
// Until then nothing moves: a session that ends in the middle has read them for nothing, and the next one begins with the first.
//
// A reader that has all partitions of the log, and is far behind in each, reads them through one consumer; see sharing. A session does not know
// whose consumer it has.
//
// Back-pressure: at most one pull is open, bounded in messages and in bytes, and the next is asked for when all of it is delivered, or
// held as parts of a transaction.
package ingest
