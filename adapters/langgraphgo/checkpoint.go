package langgraphgo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/dshills/langgraph-go/graph"
	"github.com/dshills/langgraph-go/graph/store"

	"github.com/persistd/persistd/pkg/client"
)

// SaveCheckpointV2 implements store.Store. It returns when the checkpoint is in MySQL. An idempotency key that was used with the same content is
// success, as when a save that got no answer is repeated; with other content it is a graph.ErrIdempotencyViolation, and nothing changes.
func (s *Store[S]) SaveCheckpointV2(ctx context.Context, checkpoint store.CheckpointV2[S]) error {
	err := s.client.SaveCheckpointV2(ctx, client.CheckpointV2[S]{
		RunID: checkpoint.RunID, StepID: checkpoint.StepID, State: checkpoint.State, Frontier: checkpoint.Frontier, RecordedIOs: checkpoint.RecordedIOs,
		RNGSeed: checkpoint.RNGSeed, IdempotencyKey: checkpoint.IdempotencyKey, Timestamp: checkpoint.Timestamp, Label: checkpoint.Label,
	})
	if errors.Is(err, client.ErrDuplicate) {
		// The documentation's isIdempotencyViolation looks for "idempotency_key" in the text.
		err = fmt.Errorf("%w: idempotency_key %.300q: %w", graph.ErrIdempotencyViolation, checkpoint.IdempotencyKey, err)
	}
	return told(ctx, err)
}

// LoadCheckpointV2 implements store.Store. The frontier and the recorded I/O load as []graph.WorkItem[S] and []graph.RecordedIO, which is what the
// engine saves and its documentation asserts; what is neither loads as encoding/json makes it.
func (s *Store[S]) LoadCheckpointV2(ctx context.Context, runID string, stepID int) (store.CheckpointV2[S], error) {
	cp, err := s.client.LoadCheckpointV2(ctx, runID, stepID)
	if err != nil {
		return store.CheckpointV2[S]{}, told(ctx, err)
	}
	return store.CheckpointV2[S]{
		RunID: cp.RunID, StepID: cp.StepID, State: cp.State, RNGSeed: cp.RNGSeed,
		Frontier: as[[]graph.WorkItem[S]](cp.Frontier), RecordedIOs: as[[]graph.RecordedIO](cp.RecordedIOs),
		IdempotencyKey: cp.IdempotencyKey, Timestamp: cp.Timestamp, Label: cp.Label,
	}, nil
}

// as is v as a T, or v itself when that would not be the same JSON.
func as[T any](v any) any {
	var t T
	if was, err := json.Marshal(v); err != nil || v == nil || json.Unmarshal(was, &t) != nil {
		return v
	} else if is, err := json.Marshal(t); err != nil || !same(was, is) {
		return v
	}
	return t
}

// same tells whether two texts are the same JSON value.
func same(a, b []byte) bool {
	var values [2]any
	for i, text := range [][]byte{a, b} {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if d.Decode(&values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}
