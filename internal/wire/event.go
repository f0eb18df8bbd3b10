package wire

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Message is a message of the log as the server holds it.
type Message struct {
	// Subject is the subject in the log, e.g. persistd.log.5.default.run.run-001.
	Subject string
	// Header holds the headers; nil when there are none.
	Header Header
	// HeaderBytes is how many bytes the headers had as they came; 0 when that is not known. See [Message.HeaderSize].
	HeaderBytes int
	// Body is the payload as published, compressed or not. It is never modified.
	Body []byte
	// Sequence is the message's log sequence: unique in the stream, rising in every partition.
	Sequence uint64
	// Logged is when the server took the message into the log.
	Logged time.Time
}

// HeaderSize is about how many bytes the headers have. Where it is not known they are counted, which takes longer than all that is done with them.
func (m *Message) HeaderSize() int {
	if m.HeaderBytes > 0 {
		return m.HeaderBytes
	}
	size := 0
	for key, values := range m.Header {
		size += len(key)
		for _, v := range values {
			size += len(v)
		}
	}
	return size
}

// Place is the place of an event in the log: its sequence, and when it was logged. A log that lost its end gives sequences out again, but not
// times: the two together say whether an event is the one that was meant.
type Place struct {
	Sequence uint64 `json:"sequence"`
	// Logged is as precise as it was kept: the databases keep microseconds, so compare with [Place.Same]. Zero: not known.
	Logged time.Time `json:"logged,omitzero"`
}

// Same reports whether an event that was logged at t may be the one of p: it was logged in the same microsecond, or nothing is known.
func (p Place) Same(t time.Time) bool {
	return p.Logged.IsZero() || p.Logged.Truncate(time.Microsecond).Equal(t.Truncate(time.Microsecond))
}

// Header is a message's headers: the shape of nats.Header, which persistd's pure packages do not import.
type Header map[string][]string

// Get returns the first value of key, which is compared exactly as NATS does, or "".
func (h Header) Get(key string) string {
	if v := h[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// OpType is the kind of one write.
type OpType uint8

// The writes that exist. A type is never renumbered: it is only ever in memory, but dead code is easier to read than moved code.
const (
	// OpStep saves one step of the event's run.
	OpStep OpType = iota + 1
	// OpCheckpoint saves a named checkpoint, whose id is global.
	OpCheckpoint
	// OpCheckpointV2 saves a checkpoint of the event's run, under its step and perhaps a label and an idempotency key.
	OpCheckpointV2
	// OpOutbox saves an outbox event of the event's run, to be emitted once it is committed.
	OpOutbox
	// OpDeleteRun deletes what the event's run has: steps, V2 checkpoints and the idempotency keys that guard them, and outbox events
	// that were emitted. Outbox events that were not are promises, and stay; named checkpoints are nobody's run's.
	OpDeleteRun
	// OpAttempt begins the event's attempt, and saves nothing.
	OpAttempt
)

// String is the op's name in an event's JSON.
func (t OpType) String() string {
	if int(t) < len(opNames) {
		return opNames[t]
	}
	return fmt.Sprintf("op(%d)", uint8(t))
}

var opNames = [...]string{
	OpStep: "step", OpCheckpoint: "checkpoint", OpCheckpointV2: "checkpoint_v2", OpOutbox: "event", OpDeleteRun: "delete_run",
	OpAttempt: "attempt",
}

// Op is one write inside an event.
type Op struct {
	Type OpType
	// Step is the number of a step, the step of a named checkpoint, or the step_id of a V2 checkpoint.
	Step int32
	// NodeID names the node that executed a step; at most 255 characters, may be empty.
	NodeID string
	// ID is the id of a named checkpoint or of an outbox event.
	ID string
	// State is the state of a step or a checkpoint, or the data of an outbox event, as published: valid JSON in valid UTF-8, nested
	// at most [MaxDepth] deep.
	State []byte
	// Shallow says that State was decoded, and nested no deeper than [MaxDepthPortable]: every server takes it as JSON.
	Shallow bool
	// V2 is what a V2 checkpoint has besides; nil for every other op.
	V2 *V2
}

// V2 is what a V2 checkpoint has besides step and state.
type V2 struct {
	// Frontier and RecordedIOs are JSON like a state; "null" when they were not given.
	Frontier, RecordedIOs []byte
	RNGSeed               int64
	// Label is at most 255 characters; "" is none.
	Label string
	// Key is the idempotency key, at most 255 characters; "" is none. A key guards the whole event: see [Event.Keys].
	Key string
	// Timestamp is the checkpoint's own time, to the microsecond; the zero time when it was not given.
	Timestamp time.Time
}

// Event is one message of the log, or the consecutive ones of one transaction, understood: the ops of one transaction, or the reason why
// there can never be one.
type Event struct {
	// Message is where the event came from; a dead letter is made of it. Of a transaction in parts it is the last one, so that its
	// sequence is the event's.
	Message Message
	// Parts are all messages of a transaction in parts, Message the last of them; nil when there is only Message.
	Parts []Message
	// Part says which part of a transaction this message is; the zero value when it is all of it.
	Part Part
	// Partition is the slice of the log that the event is in.
	Partition int
	// Namespace is whose event it is.
	Namespace string
	// Kind is the kind of key that the event was published under.
	Kind string
	// RunID is the run that the ops of the event belong to; "" of an event of [KindCheckpoint].
	RunID string
	// Attempt is the run's attempt that wrote the event: 0 when it does not say. An event of an older attempt than the run's is refused.
	Attempt uint32
	// Ops are the writes, in the order in which they apply; they commit together (I5). Empty when Poison is set.
	Ops []Op
	// ContentHash tells whether two events with the same idempotency key say the same: as given, or as [HashContent] makes it. Set
	// when the event has keys.
	ContentHash [32]byte
	// GivenHash says that ContentHash is the publisher's.
	GivenHash bool
	// Poison is set when the event can never be applied, and says why (I7).
	Poison *Poison
	// Size is what the event costs in memory and, nearly, in a statement, in bytes: its states and ids, decompressed.
	Size int
}

// Keys are the event's idempotency keys, sorted, each once: those of its V2 checkpoints that are not empty. They guard the whole event: it
// applies when none of them was used; it is a success that changes nothing when one was used by an event with the same content; and else
// it is refused as a duplicate, and changes nothing either.
func (ev *Event) Keys() []string {
	var keys []string
	for i := range ev.Ops {
		if v2 := ev.Ops[i].V2; v2 != nil && v2.Key != "" {
			keys = append(keys, v2.Key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// Token is the token of the key that the event was published under, also of one that is poison; "" when its subject has none.
func (ev *Event) Token() string {
	return ev.Message.Subject[strings.LastIndexByte(ev.Message.Subject, '.')+1:]
}

func (ev *Event) hasKeys() bool {
	for i := range ev.Ops {
		if v2 := ev.Ops[i].V2; v2 != nil && v2.Key != "" {
			return true
		}
	}
	return false
}

// Poison is why an event can never be applied. It is an error so that a client can refuse with the same words before anything
// is published.
type Poison struct {
	// Code is one of the Code constants: stable, for metrics and for machines.
	Code string
	// Reason is for people: what is wrong, with the limit that was passed.
	Reason string
	// ErrorNumber is the database's error number when it was the database that refused, else 0.
	ErrorNumber uint16
}

// The codes of poison.
const (
	CodeNotJSON  = "not_json"      // the body, or what should be an object of it, is not valid JSON
	CodeBody     = "bad_body"      // valid JSON, but a member is missing, unknown, doubled or of the wrong type
	CodeOp       = "unknown_op"    // an op this version does not know
	CodeStep     = "bad_step"      // a step outside INT
	CodeID       = "bad_id"        // an id that cannot be stored, or is not the one of the subject
	CodeNode     = "bad_node_id"   // a node id that cannot be stored
	CodeToken    = "bad_token"     // a subject token that no id has, or that hides its id
	CodeDepth    = "too_deep"      // a state nested deeper than MaxDepth
	CodeSize     = "too_large"     // a body larger than MaxBody, decompressed
	CodeEncoding = "bad_encoding"  // a Content-Encoding that is unknown or does not decode
	CodeSubject  = "bad_subject"   // a subject that no write has
	CodeDatabase = "refused_by_db" // a valid event that the database refuses for good
	CodePart     = "bad_part"      // a part of a transaction whose other parts are not beside it
	CodeAttempt  = "stale_attempt" // a write of an older attempt than the run's
)

// Codes are all codes of poison.
func Codes() []string {
	return []string{
		CodeNotJSON, CodeBody, CodeOp, CodeStep, CodeID, CodeNode, CodeToken, CodeDepth, CodeSize, CodeEncoding, CodeSubject, CodeDatabase,
		CodePart, CodeAttempt,
	}
}

// Error reads as the reason.
func (p *Poison) Error() string { return p.Reason }
