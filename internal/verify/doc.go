// Package verify compares the log and the database: every event that the log still has, up to the position, row by row and content by
// content. It reads only, locks nothing, holds a bounded number of events, and may run while the daemon writes.
//
//	position of each partition ─▶ the window: what the log has up to it
//	for each partition, its events in log order, some hundred at a time:
//	    read the rows that they write, then the rows of their runs       ── in this order: see [Database]
//	    judge each event: is each of its rows there, with its content?   ── a later write, a deletion, a used key, an older attempt explain
//	    not explained: has it a dead letter?                             ── that explains, too
//	    nor that: look once more after a moment, then report
//	for each table, page by page, the places of its rows:
//	    is there an event in the window that wrote it, by what was seen above?
//
// The last step keeps no list of rows: see [ledger].
//
// What cannot be told is counted, and not reported: whether an event with idempotency keys applied whose rows were removed for their age.
package verify
