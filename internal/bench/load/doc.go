// Package load does an operation again and again, by several workers at once, and tells how often, and how long each took.
//
//	closed loop   each worker begins when it has its answer                       Rate 0
//	open loop     operations arrive at a fixed rate; a free worker takes the      Rate > 0
//	              next, and one that finds none free waits for one
//
//	begin ──WarmUp──▶ from ──For──▶ until ──what has begun or arrived ends──▶ Result
//
// # How long an operation took
//
// In a closed loop, from its call to its return. A stall of the system keeps the workers from asking: a second without an answer is one slow
// operation a worker, and the hundreds that would have come meanwhile are not there to be slow. So a closed loop's rate is what it tells best,
// and its high quantiles flatter the system.
//
// In an open loop, from when it was to begin to its return, whether or not a worker was free then: nothing is left out (the coordinated
// omission), and so nothing is to be put back afterwards, as who measures from the call has to do. What arrived before the end is
// done and counted, however late. The arrivals are evenly spaced; they are released by a thread that sleeps to some 20 µs, since Go's own
// timers wake a millisecond late, and what it is late counts as latency.
//
// An operation that fails is counted as that and nothing else: however fast it was, it is in no quantile and no rate, and the run has failed.
package load
