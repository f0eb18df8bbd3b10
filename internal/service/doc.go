// Package service is the daemon's side on NATS: it answers reads and waits for commits, leases outbox events, says what the replica is
// doing, and passes on the owners' announcements of their positions. It is a NATS service (`nats micro ls` shows it); any replica
// answers.
//
//	persistd.read.<namespace>.latest, .checkpoint             one replica of all answers, from MySQL and the tail
//	       ….steps                                            one replica, once MySQL has the run
//	       ….checkpoint_v2, .checkpoints_v2, .idempotency,
//	         .runs, .attempt                                  one replica, from MySQL
//	       ….events, .emitted                                 one replica leases outbox events, and marks them
//	       ….committed, .watch                                one replica, held until there is something to say
//	persistd.status                                           every replica answers
//	persistd.position.<partition>                             heard by all                  → [position.Tracker]
//	persistd.leases                                           heard by all                  → partition's Set, through Config.Leases
//
// A verb is a request and a reply of wire's, and a method of [readpath.Reader]. A page that is larger than a message, compressed and all,
// is cut in half, and says where the next one begins.
//
// A run that does not exist is an answer, not an error. An error carries the headers of every NATS service, with the codes of wire's
// Status constants.
package service
