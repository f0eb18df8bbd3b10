package wire

import (
	"time"
)

// Message is a message of the log as the server holds it.
type Message struct {
	// Subject is the subject in the log, e.g. persistd.log.5.default.run.run-001.
	Subject string
	// Header holds the headers; nil when there are none.
	Header Header
	// Body is the payload as published, compressed or not. It is never modified.
	Body []byte
	// Sequence is the message's log sequence: unique in the stream, rising in every partition.
	Sequence uint64
	// Logged is when the server took the message into the log.
	Logged time.Time
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
)

// Op is one write inside an event.
type Op struct {
	Type OpType
	// Step is the step's number in its run.
	Step int32
	// NodeID names the node that executed the step; at most 255 characters, may be empty.
	NodeID string
	// State is the state as published: valid JSON in valid UTF-8, nested at most [MaxDepth] deep.
	State []byte
}

// Event is one message of the log, understood: the ops of one transaction, or the reason why there can never be one.
type Event struct {
	// Message is where the event came from; a dead letter is made of it.
	Message Message
	// Partition is the slice of the log that the event is in.
	Partition int
	// Namespace is whose event it is.
	Namespace string
	// RunID is the run that all ops of the event belong to.
	RunID string
	// Ops are the writes, in the order in which they apply; they commit together (I5). Empty when Poison is set.
	Ops []Op
	// Poison is set when the event can never be applied, and says why (I7).
	Poison *Poison
	// Size is what the event costs in memory and, nearly, in a statement, in bytes: its states and ids, decompressed.
	Size int
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
)

// Codes are all codes of poison.
func Codes() []string {
	return []string{
		CodeNotJSON, CodeBody, CodeOp, CodeStep, CodeID, CodeNode, CodeToken, CodeDepth, CodeSize, CodeEncoding, CodeSubject, CodeDatabase,
	}
}

// Error reads as the reason.
func (p *Poison) Error() string { return p.Reason }
