// Package partition applies the partitions of the log that this replica owns: it holds their leases, reads them from their position
// and hands their events to a batcher.
//
// One goroutine drives each partition through
//
//	   ┌──────────────── lease lost, position moved, or handed over ────────────────┐
//	   ▼                                                                            │
//	waiting ──Acquire──▶ owned (epoch, position) ──Read from position+1──▶ applying ──Stop──▶ draining ──Release──▶ stopped
//
// Nothing is remembered between terms: each begins at the position found in MySQL (I2). One more goroutine renews the leases, and with
// them word that this replica is there.
//
// A third spreads the partitions. It looks at all leases and replicas at once, every two seconds and whenever another replica tells that
// something changed, and has this replica take what is free up to its share, or hand over, drained and released, what it has above it. The
// shares follow from what is seen alone, so all replicas come to the same, without one that leads:
//
//	joins:    there ──hint──▶ the others are above their shares: each hands over, a few at a time ──hint──▶ it takes them
//	stops:    not there, and each partition released as soon as it is drained ──hint──▶ the others take them at once
//	dies:     its leases end ──▶ the others, who see when that will be, take them
package partition
