// Package service is the daemon's side on NATS: it answers reads and waits for commits, says what the replica is doing, and passes
// on the owners' announcements of their positions. It is a NATS service (`nats micro ls` shows it); any replica answers.
//
//	persistd.read.<namespace>.latest      one replica of all answers   → [readpath.Reader.LoadLatest]
//	persistd.read.<namespace>.committed   one replica, held until then → [readpath.Reader.Committed]
//	persistd.status                       every replica answers
//	persistd.position.<partition>         heard by all                 → [position.Tracker]
//
// A run that does not exist is an answer, not an error. An error carries the headers of every NATS service, with the codes of wire's
// Status constants.
package service
