// Package partition applies the partitions of the log that this replica owns: it holds their leases, reads them from their position
// and hands their events to a batcher.
//
// One goroutine drives each partition through
//
//	   ┌───────────────────── lease lost, or position moved ─────────────────────┐
//	   ▼                                                                         │
//	waiting ──Acquire──▶ owned (epoch, position) ──Read from position+1──▶ applying ──Stop──▶ draining ──Release──▶ stopped
//
// and one more renews the leases. Nothing is remembered between terms: each begins at the position found in MySQL (I2).
package partition
