// Package stream is the JetStream stream that is the log: it is created or checked here, read at its end, and trimmed; and its dead
// letters are kept here, in a stream beside it.
//
// [Ensure] is the only way to a [Stream]. It either finds or makes a stream that keeps what persistd promises, or says, setting by
// setting, which promise would be broken and how to mend it:
//
//	Ensure: server new enough? ─▶ JetStream on? ─▶ stream there? ──no──▶ create ──(another daemon was first)──┐
//	                                                   │yes                                                   │
//	                                                   └──▶ check every setting ◀──────────────────────────────┘
//	                                                          │ breaks an invariant: *ConfigError, all of them at once
//	                                                          │ less than what is configured: raised, never lowered
//	                                                          └──▶ Stream, with its dead letters
//
// What the stream is held to (I1): it keeps everything until persistd itself trims it. Limits retention, no age, no count, discard
// new: when it is full, publishers get an error and the oldest event stays.
//
// Who is asked. JetStream has two ways to read a message: STREAM.MSG.GET, answered by the stream's leader, and Direct Get, answered by
// any replica and perhaps behind. What must see every acknowledged write (I6) asks the leader; [Stream.Tail] uses the other only
// for what it then checks against the leader's answer.
package stream
