// Package readpath answers reads with every acknowledged write in them, flushed or not: MySQL and the tail of the log that is not
// yet in it.
//
// I6: a write acknowledged to anybody before the read began is in what the read returns. There are three ways to keep it.
//
// The latest step of a run and a named checkpoint are read from both, in this order:
//
//	bound ← a lower bound of the partition's position       (a hint, from [position.Tracker])
//	tail  ← the key's events after bound, from the leader    every acknowledged write is at or below bound, or in tail
//	row, position ← MySQL, in one statement                  every event at or below position is in row, or overwritten there
//	if position < bound: bound ← position, and again         (the database was restored: the bound was none)
//	answer: row, and the events of tail after position applied to it in log order
//
// The other order, MySQL first, would miss an event that is committed and trimmed between the two reads. But mostly the log's answer itself
// shows that this did not happen, so row and position are read beside the tail as well, and are as good as if they had been read after it when
//
//	0 < last ≤ position                                      last is the key's last event, which the log still held when it was asked
//
// for what was acknowledged and is above last would have been trimmed, and a trim takes a partition's events from below: last before it. So
// all of the key is at or below last, and in the row. If not, the row is read once more.
//
// Of a tail the last event is mostly enough: of a checkpoint it says all, and of a run it does when one client wrote what the log has of it,
// steps that do not fall; see [Chained]. Then a read costs the same however long the tail is.
//
// To apply an event is to do what its commit will do:
//
//	one of an older attempt than has begun before it     nothing: it is refused (a deletion of no attempt is not)
//	a step of a newer attempt than the row's             stands, whatever its number
//	a step of the same                                   stands if its number is not lower
//	a deletion of the run                                takes row and steps before it away
//	a checkpoint of that name                            stands unless the row's sequence is higher: a run's transaction wrote it
//	one with an idempotency key                          nothing: whether it applies, its commit tells, and then it is in row
//
// What needs more of a run than its tail can tell, all its steps, waits for the tail to be in MySQL:
//
//	last ← the run's last event, from the leader             every acknowledged write is at or below it, or trimmed
//	wait until position ≥ last, then read MySQL
//	position < last by now: again                            (the database was restored meanwhile)
//
// And what is acknowledged only when it is committed (V2 checkpoints, idempotency keys, outbox events) is read from MySQL alone.
package readpath
