package mysqlstore

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/persistd/persistd/internal/wire"
)

// latestSQL reads position and row at one moment: a statement has one read view, and row and position were committed together. Each
// part is one look into a key. A derived table would read the same, but MariaDB writes one with a JSON column to disk.
const latestSQL = "SELECT p.position, p.generation, s.step, s.node_id, s.state, s.created_at, s.log_seq, s.log_gen" +
	" FROM persistd_partitions p LEFT JOIN workflow_steps s" +
	" ON s.run_id=? AND s.step=(SELECT MAX(step) FROM workflow_steps WHERE run_id=?) WHERE "

// Latest implements [readpath.Rows]. The step's sequence is 0 when persistd did not write the row, or wrote it from a stream that
// is no longer the registered one: its sequences say nothing about this one's.
func (s *Store) Latest(ctx context.Context, no int, runID string) (*wire.StepRecord, uint32, uint64, error) {
	r := s.registered.Load()
	what := "read latest step in partition " + strconv.Itoa(no)
	if r == nil {
		return nil, 0, 0, s.fail(what, errNotRegistered)
	}
	var (
		position              uint64
		current               uint32
		step, sequence, wrote sql.Null[int64]
		node                  sql.Null[string]
		state                 []byte
		logged                sql.NullTime
	)
	q := latestSQL + string(r.appendKey(nil, no))
	err := s.readers.QueryRowContext(ctx, q, runID, runID).Scan(&position, &current, &step, &node, &state, &logged, &sequence, &wrote)
	if err != nil {
		return nil, 0, 0, s.fail(what, err)
	}
	if !step.Valid {
		return nil, 0, position, nil
	}
	out := &wire.StepRecord{Step: int32(step.V), NodeID: node.V, State: state, SavedAt: logged.Time} //nolint:gosec // an INT.
	if wrote.V == int64(current) {
		out.Sequence = uint64(sequence.V) //nolint:gosec // sequences stay far below 2⁶³.
	}
	return out, 0, position, nil
}

const checkpointSQL = "SELECT p.position, p.generation, c.step, c.state, c.updated_at, c.log_seq, c.log_gen" +
	" FROM persistd_partitions p LEFT JOIN workflow_checkpoints c ON c.checkpoint_id=? WHERE "

// Checkpoint implements [readpath.Rows]; its sequence is as Latest's.
func (s *Store) Checkpoint(ctx context.Context, no int, id string) (*wire.CheckpointRecord, uint64, error) {
	r := s.registered.Load()
	what := "read checkpoint in partition " + strconv.Itoa(no)
	if r == nil {
		return nil, 0, s.fail(what, errNotRegistered)
	}
	var (
		position              uint64
		current               uint32
		step, sequence, wrote sql.Null[int64]
		state                 []byte
		saved                 sql.NullTime
	)
	q := checkpointSQL + string(r.appendKey(nil, no))
	err := s.readers.QueryRowContext(ctx, q, id).Scan(&position, &current, &step, &state, &saved, &sequence, &wrote)
	if err != nil {
		return nil, 0, s.fail(what, err)
	}
	if !step.Valid {
		return nil, position, nil
	}
	out := &wire.CheckpointRecord{Step: int32(step.V), State: state, SavedAt: saved.Time} //nolint:gosec // an INT.
	if wrote.V == int64(current) {
		out.Sequence = uint64(sequence.V) //nolint:gosec // sequences stay far below 2⁶³.
	}
	return out, position, nil
}
