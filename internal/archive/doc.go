// Package archive writes runs as lines of JSON, and reads them back by way of the log, as any worker writes.
//
//	{"record":"archive","format":"persistd-runs","version":1,"exported_at":…}        the first line
//	{"record":"run","run_id":"run-001","attempt":2,"last_step":7}                    a run begins; its records follow, by rising step
//	{"record":"step","step":1,"node_id":"fetch","attempt":1,"saved_at":…,"state":…}
//	{"record":"checkpoint_v2","step_id":1,"state":…,"frontier":…,"recorded_ios":…,"rng_seed":…,"timestamp":…,"label":…,"idempotency_key":…}
//	{"record":"checkpoint","checkpoint_id":"nightly","step":3,"state":…}             a named checkpoint, of no run
//	{"record":"end","runs":1,"records":3}                                            the last line: without it the archive is cut off
//
// Steps and V2 checkpoints of a run come each in the order of their numbers, all steps first. A state is the JSON that the database gave back,
// without blanks between its tokens: nothing is decoded and encoded again. docs/operations.md is this for operators.
package archive
