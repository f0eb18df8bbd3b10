package client

import "time"

// Step is a step of a run.
type Step[S any] struct {
	// Step is its number, which fits 32 bits. The same number again replaces the step.
	Step int
	// NodeID names the node that executed it: at most 255 characters, may be empty.
	NodeID string
	// State is the state after it.
	State S
	// Attempt is the attempt that saved it, 0 for none; see [Store.BeginAttempt]. It is set by reads.
	Attempt int
	// SavedAt is when the step was first saved, to the microsecond; saving it again leaves it. It is set by reads.
	SavedAt time.Time
}

// CheckpointV2 is a checkpoint of a run with all that an engine needs to go on from it.
type CheckpointV2[S any] struct {
	// RunID and StepID are its key. The same key again replaces it.
	RunID  string
	StepID int
	// State, Frontier and RecordedIOs are encoded by the store's codec. Frontier and RecordedIOs load as what encoding/json makes of any JSON,
	// but for integers beyond ±2^53: as float64 they would be others, so they are json.Number.
	State       S
	Frontier    any
	RecordedIOs any
	// RNGSeed is all 64 bits of it.
	RNGSeed int64
	// IdempotencyKey, unless empty, is used at most once: at most 255 characters, no trailing space. See [Store.SaveCheckpointV2].
	IdempotencyKey string
	// Timestamp is kept to the microsecond, in UTC; the zero time is when it is saved.
	Timestamp time.Time
	// Label, at most 255 characters without a trailing space, is what [Store.LoadCheckpointV2ByLabel] finds it by; empty is none.
	Label string
}

// Members of an event's Meta.
const (
	// MetaEventID holds the event's id.
	MetaEventID = "event_id"
	// MetaData holds what was saved, when that was by another client and is no [Event].
	MetaData = "data"
)

// Event is an event of the outbox: saved with a state, emitted after it is committed. It has the fields of LangGraph-Go's emit.Event.
type Event struct {
	// RunID is the run that it is saved with. Empty, it is that of the call.
	RunID  string
	Step   int
	NodeID string
	Msg    string
	// Meta is anything that encoding/json takes. Its member "event_id", at most 255 characters, is the event's id, drawn at random when it
	// is missing; an event whose id is there already is not saved again.
	Meta map[string]any
}

// ID is the event's id, or "".
func (e Event) ID() string {
	id, _ := e.Meta[MetaEventID].(string)
	return id
}

// Run is what is known of a run without its states.
type Run struct {
	RunID string
	// Attempt is its newest attempt that saved a step, 0 for none. LastStep and NodeID are of the highest step of that attempt.
	Attempt  int
	LastStep int
	NodeID   string
	// UpdatedAt is when that step was last saved.
	UpdatedAt time.Time
}

// RunFilter says which runs [Store.ListRuns] lists. The zero value is all of them.
type RunFilter struct {
	// Prefix is what the ids begin with.
	Prefix string
	// UpdatedSince leaves out runs whose last step was saved before.
	UpdatedSince time.Time
	// After leaves out ids up to and with this one, in the order of their bytes: where an earlier listing ended.
	After string
	// Limit is how many at most; 0 is no limit.
	Limit int
}

// Tx collects what a transaction writes; see [Store.WithTransaction]. A method's error says that its argument can never be stored; the
// transaction then fails with it, whatever the function returns. All that it writes is of one run, but for named checkpoints. When
// the function has returned all its methods return an error. It may not be used concurrently.
type Tx[S any] interface {
	SaveStep(runID string, step int, nodeID string, state S) error
	SaveCheckpoint(id string, state S, step int) error
	SaveCheckpointV2(checkpoint CheckpointV2[S], opts ...SaveOption) error
	// SaveEvents saves events of the run to the outbox. An event without a run id is of the run that the transaction writes.
	SaveEvents(events ...Event) error
}

// SaveOption adds to what a call saves.
type SaveOption func(*saveOptions)

type saveOptions struct{ events []Event }

// WithEvents saves events to the outbox, in the same transaction as the state.
func WithEvents(events ...Event) SaveOption {
	return func(o *saveOptions) { o.events = append(o.events, events...) }
}

// Pool says how a store in MySQL uses connections; see [WithPool]. The zero value of a field means its default.
type Pool struct {
	// MaxOpen is how many connections there may be. Default 25; negative is no limit.
	MaxOpen int
	// MaxIdle is how many of them are kept while nothing uses them. Default 5; negative is none.
	MaxIdle int
	// MaxLifetime is how old one may become, MaxIdleTime how long one may idle. Defaults 5 min and 10 min; negative is for ever.
	MaxLifetime, MaxIdleTime time.Duration
}
