// Package readpath answers reads with every acknowledged write in them, flushed or not: MySQL and the tail of the log that is not
// yet in it.
//
// I6: a write acknowledged to anybody before the read began is in what the read returns. The order keeps it:
//
//	bound ← a lower bound of the partition's position       (a hint, from [position.Tracker])
//	tail  ← the run's events after bound, from the leader    every acknowledged write is at or below bound, or in tail
//	row, position ← MySQL, in one statement                  every event at or below position is in row, or overwritten there
//	if position < bound: bound ← position, and again         (the database was restored: the bound was none)
//	answer: row and the events of tail after position, the highest step, and of one step the later write
//
// The other order, MySQL first, would miss an event that is committed and trimmed between the two reads.
package readpath
