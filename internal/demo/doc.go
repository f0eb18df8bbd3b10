// Package demo is persistd shown at work: a fleet of workers saves agent-like runs while the daemon and the database are killed under
// it, and at the end every step that was acknowledged is looked for in MySQL with plain SQL.
//
//	prepare: nats-server, database, daemon (a process of its own)
//	run:     workers save steps and resume runs ─── meanwhile: SIGKILL daemon, start it again, SIGKILL database, start it again
//	settle:  wait until what was acknowledged is committed
//	verify:  the ledger of what was acknowledged against SELECT … FROM workflow_steps
//
// The ledger is the demo's own, kept in the workers' process: nothing that persistd says of itself counts in the verdict.
package demo
