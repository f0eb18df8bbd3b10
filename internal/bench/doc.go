// Package bench measures persistd on the machine it runs on, beside what a user would otherwise have.
//
//	Scenario ──Run──▶ Bench.Compare: round 1: ours, baseline   round 2: baseline, ours   …  ──▶ Series ──Bench.Report──▶ Results
//	                                                                                                 Targets ───────────────┘
//
// A machine's speed changes from minute to minute and from one machine to the next; the ratio of two things that were measured
// alternately, in one process, on the same servers, changes little. So each scenario has a baseline where there is one, each round measures both,
// whoever went first goes second in the next, and what is told is the median of the rounds' ratios. The absolute figures beside it are of this
// machine, where client, nats-server, daemon and database share the cores.
//
// A [Target] is a bound of such a figure that persistd is held to; all of them stand in targets.go.
package bench
