// Package wire is the event format: what a worker publishes, what the log holds and what every part of persistd reads.
//
// A message of the log is one [Event]: one or several writes ([Op]) that are applied together or not at all. (A transaction too large for
// one message is several, see [Part].) Its subject names the partition, the namespace, the kind of key and the key's token; its body is
// JSON, readable and writable by hand:
//
//	persistd.write.default.run.run-001          as published
//	persistd.log.5.default.run.run-001          as logged, moved there by the stream's own subject transform
//
//	{"step":3,"node_id":"fetch","state":{…}}                                   one step of the run in the subject
//	{"run_id":"run-001","ops":[{"op":"step","step":3,"node_id":…,"state":…},…]} several writes, one transaction
//	{"checkpoint_id":"nightly","step":3,"state":{…}}                           under a named checkpoint's subject
//	{"run_id":"run-001","attempt":2}                                           under a run's attempt subject: its second attempt begins
//
// The state is never decoded and encoded again: an op's State is a part of the body that was published. A body may be
// zstd-compressed (header Content-Encoding: zstd).
//
// [Decode] is total: it gives every message a meaning. One that can never be applied is an Event whose Poison says why.
// docs/protocol.md is this package for people who write a client in another language.
package wire
