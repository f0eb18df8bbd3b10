package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// StepRecord is a saved step, from a row or from the log.
type StepRecord struct {
	Step   int32  `json:"step"`
	NodeID string `json:"node_id"`
	// Attempt is the attempt that saved it, 0 for none.
	Attempt uint32 `json:"attempt,omitempty"`
	// Sequence is the log sequence that wrote it; 0 when persistd did not, or wrote it from another stream than the present one.
	Sequence uint64 `json:"sequence"`
	// SavedAt is when it was first logged: saving it again leaves it.
	SavedAt time.Time `json:"saved_at"`
	// State is the state's JSON. From a row it is as the database gives it back (MySQL normalises JSON), from the log as published.
	State json.RawMessage `json:"state"`
}

// CheckpointRecord is a named checkpoint.
type CheckpointRecord struct {
	Step int32 `json:"step"`
	// Sequence is as of a [StepRecord]; SavedAt is when it was last saved.
	Sequence uint64          `json:"sequence"`
	SavedAt  time.Time       `json:"saved_at"`
	State    json.RawMessage `json:"state"`
}

// V2Record is a V2 checkpoint.
type V2Record struct {
	StepID         int32           `json:"step_id"`
	Label          string          `json:"label,omitempty"`
	RNGSeed        int64           `json:"rng_seed"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
	Timestamp      time.Time       `json:"timestamp"`
	Attempt        uint32          `json:"attempt,omitempty"`
	Sequence       uint64          `json:"sequence"`
	SavedAt        time.Time       `json:"saved_at"`
	State          json.RawMessage `json:"state"`
	Frontier       json.RawMessage `json:"frontier"`
	RecordedIOs    json.RawMessage `json:"recorded_ios"`
}

// OutboxRecord is an outbox event that was committed.
type OutboxRecord struct {
	EventID string `json:"event_id"`
	RunID   string `json:"run_id"`
	// SavedAt is when it was logged.
	SavedAt time.Time       `json:"saved_at"`
	Data    json.RawMessage `json:"data"`
}

// RunRecord is what is known of a run without its states.
type RunRecord struct {
	RunID string `json:"run_id"`
	// Attempt is the run's newest attempt that saved a step, 0 for none; LastStep and NodeID are of its highest step.
	Attempt  uint32 `json:"attempt,omitempty"`
	LastStep int32  `json:"last_step"`
	NodeID   string `json:"node_id"`
	// UpdatedAt is when that step was last saved.
	UpdatedAt time.Time `json:"updated_at"`
}

// CheckpointRequest asks for a named checkpoint.
type CheckpointRequest struct {
	CheckpointID string `json:"checkpoint_id"`
}

// CheckpointReply answers it; Checkpoint is nil when there is none of that name.
type CheckpointReply struct {
	Checkpoint *CheckpointRecord `json:"checkpoint"`
}

// V2Request asks for one V2 checkpoint of a run: that of a step; or of those with a label, or of all, the one with the highest step. A step
// and a label together are a bad request.
type V2Request struct {
	RunID  string `json:"run_id"`
	StepID *int32 `json:"step_id,omitempty"`
	Label  string `json:"label,omitempty"`
}

// V2Reply answers it; Checkpoint is nil when there is none.
type V2Reply struct {
	Checkpoint *V2Record `json:"checkpoint"`
}

// V2ListRequest asks for V2 checkpoints of a run by rising step, from From on. Limit is how many at most; 0 is as many as fit a reply.
type V2ListRequest struct {
	RunID string `json:"run_id"`
	From  int32  `json:"from"`
	Limit int    `json:"limit,omitempty"`
}

// V2ListReply answers it. Next is the From of the next page, nil when there is none.
type V2ListReply struct {
	Checkpoints []V2Record `json:"checkpoints"`
	Next        *int32     `json:"next,omitempty"`
}

// IdempotencyRequest asks whether a key was used.
type IdempotencyRequest struct {
	Key string `json:"key"`
}

// IdempotencyReply answers it.
type IdempotencyReply struct {
	Used bool `json:"used"`
}

// StepsRequest asks for the steps of a run by rising number, of all attempts, from From on. The answer has every step that was acknowledged
// before the request; for those that are not yet in MySQL it waits. Limit is how many at most; 0 is as many as fit a reply.
type StepsRequest struct {
	RunID string `json:"run_id"`
	From  int32  `json:"from"`
	Limit int    `json:"limit,omitempty"`
}

// StepsReply answers it. Next is the From of the next page, nil when there is none.
type StepsReply struct {
	Steps []StepRecord `json:"steps"`
	Next  *int32       `json:"next,omitempty"`
}

// WatchRequest asks for the steps of a run, in the order in which they were saved, that were saved after Cursor and have the number From
// or more. Without any the reply waits for WaitMS, at most [MaxCommittedWait], before it is empty.
type WatchRequest struct {
	RunID string `json:"run_id"`
	From  int32  `json:"from"`
	// Cursor is that of the reply before; "" at the beginning.
	Cursor string `json:"cursor,omitempty"`
	WaitMS int64  `json:"wait_ms,omitempty"`
}

// WatchReply answers it.
type WatchReply struct {
	Steps  []StepRecord `json:"steps"`
	Cursor string       `json:"cursor"`
}

// RunsRequest asks for runs by their ids in order, of what is in MySQL.
type RunsRequest struct {
	// Prefix is what the ids begin with.
	Prefix string `json:"prefix,omitempty"`
	// UpdatedSince leaves out the runs whose last step was saved before.
	UpdatedSince time.Time `json:"updated_since,omitzero"`
	// After is the Next of the page before.
	After string `json:"after,omitempty"`
	// Limit is how many at most; 0 is 1000, which is also the most.
	Limit int `json:"limit,omitempty"`
}

// RunsReply answers it. A page may be short of its limit, even empty, and have a next one; Next is "" when there is none.
type RunsReply struct {
	Runs []RunRecord `json:"runs"`
	Next string      `json:"next,omitempty"`
}

// AttemptRequest asks for a run's attempt.
type AttemptRequest struct {
	RunID string `json:"run_id"`
}

// AttemptReply answers it.
type AttemptReply struct {
	// Attempt is the newest attempt that has begun, 0 when none has.
	Attempt uint32 `json:"attempt"`
	// Sequence is the last of the run's attempt subject in the log, 0 when the log has none (any more): what a write of this attempt, or
	// the beginning of the next, may expect it to be.
	Sequence uint64 `json:"sequence"`
	// Subject is that subject.
	Subject string `json:"subject"`
}

// EventsRequest leases pending outbox events, in the order in which they were committed, to a holder: nobody else is given them, nor later
// events of the same runs, until they are marked or LeaseMS is over.
type EventsRequest struct {
	Limit   int    `json:"limit"`
	LeaseMS int64  `json:"lease_ms"`
	Holder  string `json:"holder"`
}

// EventsReply answers it.
type EventsReply struct {
	Events []OutboxRecord `json:"events"`
}

// EmittedRequest marks outbox events as emitted, at most 1000 at a time. Ids that do not exist, or are marked, are passed over.
type EmittedRequest struct {
	EventIDs []string `json:"event_ids"`
}

// EmittedReply answers it.
type EmittedReply struct {
	Marked int64 `json:"marked"`
}

// Marshal is v, a reply of this package, as JSON, with the states in it as they are, blanks aside. A list without entries is [] and not null.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(withLists(v)); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// withLists is v with empty lists in the stead of nil ones.
func withLists(v any) any {
	from := reflect.ValueOf(v)
	if from.Kind() != reflect.Struct {
		return v
	}
	to := reflect.New(from.Type()).Elem()
	to.Set(from)
	for _, field := range to.Fields() {
		if field.Kind() == reflect.Slice && field.IsNil() && field.Type().Elem().Kind() == reflect.Struct {
			field.Set(reflect.MakeSlice(field.Type(), 0, 0))
		}
	}
	return to.Interface()
}
