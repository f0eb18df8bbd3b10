package archive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// The format, and its version: a reader refuses a later one, and a member that it does not know.
const (
	Format  = "persistd-runs"
	Version = 1
)

// The kinds of records.
const (
	kindArchive      = "archive"
	kindRun          = "run"
	kindStep         = "step"
	kindCheckpointV2 = "checkpoint_v2"
	kindCheckpoint   = "checkpoint"
	kindEnd          = "end"
)

// header is the first line.
type header struct {
	Record     string    `json:"record"`
	Format     string    `json:"format"`
	Version    int       `json:"version"`
	ExportedAt time.Time `json:"exported_at"`
}

// run begins a run. LastStep is the step that LoadLatest answered with, nil when there was none; steps with a higher number are of an older
// attempt.
type run struct {
	Record   string `json:"record"`
	RunID    string `json:"run_id"`
	Attempt  int    `json:"attempt,omitempty"`
	LastStep *int   `json:"last_step,omitempty"`
}

type step struct {
	Record  string          `json:"record"`
	Step    int             `json:"step"`
	NodeID  string          `json:"node_id"`
	Attempt int             `json:"attempt,omitempty"`
	SavedAt time.Time       `json:"saved_at"`
	State   json.RawMessage `json:"state"`
}

type checkpointV2 struct {
	Record         string          `json:"record"`
	StepID         int             `json:"step_id"`
	State          json.RawMessage `json:"state"`
	Frontier       json.RawMessage `json:"frontier"`
	RecordedIOs    json.RawMessage `json:"recorded_ios"`
	RNGSeed        int64           `json:"rng_seed"`
	Timestamp      time.Time       `json:"timestamp"`
	Label          string          `json:"label,omitempty"`
	IdempotencyKey string          `json:"idempotency_key,omitempty"`
}

type checkpoint struct {
	Record       string          `json:"record"`
	CheckpointID string          `json:"checkpoint_id"`
	Step         int             `json:"step"`
	State        json.RawMessage `json:"state"`
}

// end is the last line: how many runs there were, and how many steps and checkpoints.
type end struct {
	Record  string `json:"record"`
	Runs    int    `json:"runs"`
	Records int    `json:"records"`
}

// Codec is what the client's store of an archive is opened with: JSON as it is, and frontiers and recorded I/O in a string, so that their
// numbers keep their digits on their way through a value of any type.
type Codec struct{ client.JSON }

// Decode implements [client.Codec].
func (c Codec) Decode(b client.Binding, data []byte, v any) error {
	if b.Kind == client.KindFrontier || b.Kind == client.KindRecordedIOs {
		quoted, err := json.Marshal(string(data))
		if err != nil {
			return fmt.Errorf("quote %s: %w", b.Kind, err)
		}
		data = quoted
	}
	return c.JSON.Decode(b, data, v) //nolint:wrapcheck // it is JSON's method under another roof.
}

// raw is what Codec made of a frontier.
func raw(v any) json.RawMessage {
	if s, ok := v.(string); ok {
		return json.RawMessage(s)
	}
	return json.RawMessage("null")
}

// decodeStrictly decodes a line into v; a member that v has not is an error.
func decodeStrictly(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	return d.Decode(v) //nolint:wrapcheck // the reader says which line.
}
