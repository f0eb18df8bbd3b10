package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Verbs of the read path, for [Subjects.Read].
const (
	VerbLatest        = "latest"         // LatestRequest, LatestReply
	VerbCommitted     = "committed"      // CommittedRequest, CommittedReply
	VerbCheckpoint    = "checkpoint"     // CheckpointRequest, CheckpointReply
	VerbCheckpointV2  = "checkpoint_v2"  // V2Request, V2Reply: one of a run
	VerbCheckpointsV2 = "checkpoints_v2" // V2ListRequest, V2ListReply: those of a run
	VerbIdempotency   = "idempotency"    // IdempotencyRequest, IdempotencyReply
	VerbSteps         = "steps"          // StepsRequest, StepsReply
	VerbWatch         = "watch"          // WatchRequest, WatchReply
	VerbRuns          = "runs"           // RunsRequest, RunsReply
	VerbAttempt       = "attempt"        // AttemptRequest, AttemptReply
	VerbEvents        = "events"         // EventsRequest, EventsReply: leases outbox events
	VerbEmitted       = "emitted"        // EmittedRequest, EmittedReply: marks them
)

// HeaderAccept in a request names the encodings that the reply may have: "zstd".
const HeaderAccept = "Accept-Encoding"

// Headers and codes of a reply that is an error; the headers are those of every NATS service.
const (
	HeaderErrorCode = "Nats-Service-Error-Code"
	HeaderError     = "Nats-Service-Error"

	StatusBadRequest  = "400" // the request cannot be understood, or its id cannot exist
	StatusNotFound    = "404" // the namespace is not kept here (a run that does not exist is no error)
	StatusTooLarge    = "413" // the reply exceeds the server's max_payload
	StatusBusy        = "429" // too many requests wait; ask again
	StatusUnavailable = "503" // MySQL or the log is away; ask again
)

// LatestRequest asks for a run's step with the highest number.
type LatestRequest struct {
	RunID string `json:"run_id"`
}

// LatestReply answers a [LatestRequest]. Its JSON is made by [AppendLatest] and read by [ParseLatest], which leave the state alone.
type LatestReply struct {
	Found    bool      `json:"found"`
	RunID    string    `json:"run_id,omitempty"`
	Step     int32     `json:"step"`
	NodeID   string    `json:"node_id"`
	Attempt  uint32    `json:"attempt,omitempty"`
	Sequence uint64    `json:"sequence"`
	LoggedAt time.Time `json:"logged_at"`
	State    []byte    `json:"-"`
}

// AppendLatest appends the JSON of r to dst.
func AppendLatest(dst []byte, r LatestReply) ([]byte, error) {
	if !r.Found {
		return append(dst, `{"found":false}`...), nil
	}
	head, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode reply: %w", err)
	}
	dst = append(dst, head[:len(head)-1]...)
	dst = append(dst, `,"state":`...)
	dst = append(dst, r.State...)
	return append(dst, '}'), nil
}

// ParseLatest reads what AppendLatest wrote; State is a part of src.
func ParseLatest(src []byte) (LatestReply, error) {
	r := newReader(src)
	reply, err := parseLatest(&r)
	if err != nil {
		return LatestReply{}, fmt.Errorf("decode reply: %w", err)
	}
	return reply, nil
}

func parseLatest(r *reader) (reply LatestReply, err error) {
	if err := r.open(); err != nil {
		return reply, err
	}
	for {
		name, err := r.name()
		if err != nil {
			return reply, err
		}
		if name == nil {
			if reply.Found && reply.State == nil {
				err = errors.New("it has no state")
			}
			return reply, err
		}
		value, err := r.value()
		if err != nil {
			return reply, err
		}
		switch string(name) {
		case "found":
			err = json.Unmarshal(value, &reply.Found)
		case "run_id":
			err = json.Unmarshal(value, &reply.RunID)
		case "step":
			err = json.Unmarshal(value, &reply.Step)
		case "node_id":
			err = json.Unmarshal(value, &reply.NodeID)
		case "attempt":
			err = json.Unmarshal(value, &reply.Attempt)
		case "sequence":
			err = json.Unmarshal(value, &reply.Sequence)
		case "logged_at":
			err = json.Unmarshal(value, &reply.LoggedAt)
		case "state":
			reply.State = value
		default: // of a later version
		}
		if err != nil {
			return reply, err
		}
	}
}

// CommittedRequest asks to be answered when an event is in MySQL.
type CommittedRequest struct {
	// RunID is the run that the event was published under, or CheckpointID the named checkpoint: one of the two.
	RunID        string `json:"run_id,omitempty"`
	CheckpointID string `json:"checkpoint_id,omitempty"`
	// Stream is the stream that acknowledged the event; empty means whichever the daemon reads.
	Stream string `json:"stream,omitempty"`
	// Sequence is the log sequence that the acknowledgement gave.
	Sequence uint64 `json:"sequence"`
	// WaitMS is how long the reply may take, in milliseconds: at most [MaxCommittedWait].
	WaitMS int64 `json:"wait_ms"`
	// Keys are the event's idempotency keys and ContentHash its hash, in hex: with them, the reply tells whether the event applied.
	Keys        []string `json:"keys,omitempty"`
	ContentHash string   `json:"content_hash,omitempty"`
}

// MaxCommittedWait bounds how long one request for committed is held; a longer wait asks again.
const MaxCommittedWait = 5 * time.Second

// CommittedReply answers a [CommittedRequest]: committed, rejected, or neither yet. Of an event with keys, committed means that it
// applied, or that one of the same content had before; else it is rejected as [RejectedDuplicate], of which there is no dead letter, or
// with [RejectedUnknown].
type CommittedReply struct {
	Committed bool       `json:"committed"`
	Rejected  *Rejection `json:"rejected,omitempty"`
}

// Codes of a [Rejection] that no dead letter has.
const (
	RejectedDuplicate = "duplicate"   // an idempotency key was used before, with other content
	RejectedUnknown   = "key_expired" // the keys are no longer there: what became of the event cannot be told any more
)

// Rejection is why an event became a dead letter.
type Rejection struct {
	Code        string `json:"code"`
	Reason      string `json:"reason"`
	ErrorNumber uint16 `json:"error_number,omitempty"`
}

// RejectionOf is what p says of why its event is one.
func RejectionOf(p *Poison) *Rejection {
	return &Rejection{Code: p.Code, Reason: p.Reason, ErrorNumber: p.ErrorNumber}
}

// Announcement is what the owner of a partition says after a commit. It is a hint: it may be late or lost.
type Announcement struct {
	// Stream and Created tell which log, so that a stream made again under its old name is not taken for the old one.
	Stream    string    `json:"stream"`
	Created   time.Time `json:"created"`
	Partition int       `json:"partition"`
	// Partitions is how many there are, for who does not know it; 0 of a version that does not say.
	Partitions int `json:"partitions,omitempty"`
	// From and Position are the positions before and after the commit.
	From     uint64 `json:"from"`
	Position uint64 `json:"position"`
	// Rejected are the events between them that became dead letters, by sequence.
	Rejected map[uint64]Rejection `json:"rejected,omitempty"`
}

// LeasesChanged is what a replica says when it came, went, took a partition or released one. It is a hint: who owns what is in MySQL.
type LeasesChanged struct {
	// Stream and Created tell which log.
	Stream  string    `json:"stream"`
	Created time.Time `json:"created"`
}

// Status is what a replica says of itself.
type Status struct {
	Instance    string    `json:"instance"`
	Version     string    `json:"version"`
	StartedAt   time.Time `json:"started_at"`
	Ready       bool      `json:"ready"`
	NotReady    []string  `json:"not_ready,omitempty"`
	Stream      string    `json:"stream"`
	Created     time.Time `json:"stream_created"`
	LastSeq     uint64    `json:"last_sequence"`
	LogBytes    uint64    `json:"log_bytes"`
	MaxBytes    uint64    `json:"log_max_bytes"`
	DeadLetters uint64    `json:"dead_letters"`
	// DeadLetterBytes is what they take, of DeadLetterMaxBytes at most.
	DeadLetterBytes    uint64 `json:"dead_letter_bytes"`
	DeadLetterMaxBytes uint64 `json:"dead_letter_max_bytes"`
	// ReplayWindowSeconds is how long this replica leaves what is committed in the log; nil of a version that does not say.
	ReplayWindowSeconds *float64          `json:"replay_window_seconds,omitempty"`
	Partitions          []PartitionStatus `json:"partitions"`
	// Replicas are those that share in the partitions, as this one last saw them; none before it did.
	Replicas []ReplicaShare `json:"replicas,omitempty"`
}

// ReplicaShare is a replica's part of the partitions.
type ReplicaShare struct {
	Instance string `json:"instance"`
	// Share is how many partitions it is to have, Has how many it has.
	Share int `json:"share"`
	Has   int `json:"has"`
}

// PartitionStatus is one partition as its row in MySQL and, on its owner, the replica's memory have it.
type PartitionStatus struct {
	Partition int    `json:"partition"`
	Owner     string `json:"owner"`
	Epoch     uint64 `json:"epoch"`
	Position  uint64 `json:"position"`
	// The rest is known to the owner only.

	State      string  `json:"state,omitempty"`
	Phase      string  `json:"phase,omitempty"`
	Since      string  `json:"since,omitempty"`
	LagEvents  int64   `json:"lag_events"`
	LagSeconds float64 `json:"lag_seconds"`
	Error      string  `json:"error,omitempty"`
}
