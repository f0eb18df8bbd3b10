package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

func (m *importer) checkpointV2(ctx context.Context, line []byte) error {
	var c checkpointV2
	if err := decodeStrictly(line, &c); err != nil {
		return fmt.Errorf("read V2 checkpoint: %w", err)
	}
	m.records++
	if m.current == nil {
		return errors.New("is a V2 checkpoint without a run before it")
	}
	if !m.options.KeepKeys {
		c.IdempotencyKey = ""
	}
	there, same, err := m.target.checkpoint(&c, m.options.KeepKeys)
	if err != nil {
		return fmt.Errorf("V2 checkpoint %d: %w", c.StepID, err)
	}
	what := fmt.Sprintf("V2 checkpoint %d of run %q", c.StepID, m.target.id)
	if c.IdempotencyKey != "" { // a key guards all of its transaction, so it has one of its own
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	err = m.save(ctx, there, same, len(line), what, func(tx client.Tx[json.RawMessage]) error {
		return tx.SaveCheckpointV2(client.CheckpointV2[json.RawMessage]{
			RunID: m.target.id, StepID: c.StepID, State: c.State, Frontier: c.Frontier, RecordedIOs: c.RecordedIOs, RNGSeed: c.RNGSeed,
			Timestamp: c.Timestamp, Label: c.Label, IdempotencyKey: c.IdempotencyKey,
		})
	})
	if err != nil || c.IdempotencyKey == "" {
		return err
	}
	return m.flush(ctx)
}

func (m *importer) checkpoint(ctx context.Context, line []byte) error {
	var c checkpoint
	if err := decodeStrictly(line, &c); err != nil {
		return fmt.Errorf("read checkpoint: %w", err)
	}
	m.records++
	if err := m.finish(ctx); err != nil {
		return err
	}
	id := m.options.Rename(c.CheckpointID)
	state, at, err := m.st.LoadCheckpoint(ctx, id)
	there := err == nil
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return err //nolint:wrapcheck // it says what was loaded.
	}
	same := there && at == c.Step && wire.SameJSON(state, c.State, wire.AnySpelling)
	err = m.save(ctx, there, same, len(line), fmt.Sprintf("checkpoint %q", id), func(tx client.Tx[json.RawMessage]) error {
		return tx.SaveCheckpoint(id, c.State, c.Step)
	})
	if err != nil {
		return err
	}
	return m.flush(ctx)
}
