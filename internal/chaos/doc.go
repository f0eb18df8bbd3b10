// Package chaos is the proof that nothing is lost when everything may fail: real processes (three daemons, a nats-server, a MariaDB or
// MySQL), twenty workers that save what agents save, and faults, one after the other, drawn from a seed.
//
//	         ┌─ Plan: what fails next, where, for how long ─┐
//	         ▼                                              ▼
//	SIGKILL, SIGSTOP of any process             latency, cuts, black holes, … of any connection
//	         │                                              │
//	workers ─┴─▶ nats-server ─▶ 3 × persistd ─▶ database ◀──┘
//	   │ Begin, Settle                             │ every row, with SQL
//	   ▼                                           ▼
//	Ledger ─────────────── Check ──────────────▶ Verdict
//
// While faults go on, readers that any replica answers see to it that a run's latest step is never older than one acknowledged before the
// read began, and never goes back; and clients that meet at few keys record a history for package linear. At the end the ledger, which
// the workers kept, is held against the tables.
//
// The package itself is what needs no process: the plan, the ledger, the verdict. The test has the rest. `make chaos FOR=10m SEED=7` is its
// long form. A seed reproduces what fails, where, for how long and after what pause, and what each worker means to do; it does not reproduce
// which process runs when, so not what a fault meets.
package chaos
