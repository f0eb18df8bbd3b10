package mysqlstore

import (
	"context"
	"database/sql"
	"strconv"

	"github.com/persistd/persistd/internal/wire"
)

// stepColumns are what a [wire.StepRecord] is read from, of the table s.
const stepColumns = "s.step, s.node_id, s.state, s.created_at, s.attempt, s.log_seq, s.log_gen"

// stepScan takes the stepColumns of a row, which are all NULL where there is none.
type stepScan struct {
	step, attempt, wrote sql.Null[int64]
	sequence             sql.Null[uint64]
	node                 sql.Null[string]
	state                []byte
	saved                sql.NullTime
}

func (c *stepScan) columns() []any {
	return []any{&c.step, &c.node, &c.state, &c.saved, &c.attempt, &c.sequence, &c.wrote}
}

// record is the step; nil when there is none. Its sequence is 0 when persistd did not write the row, or wrote it from a stream that is
// not the one of generation: its sequences say nothing about this one's.
func (c *stepScan) record(generation uint32) *wire.StepRecord {
	if !c.step.Valid {
		return nil
	}
	r := &wire.StepRecord{
		Step: int32(c.step.V), NodeID: c.node.V, Attempt: uint32(c.attempt.V), //nolint:gosec // G115: an INT, an INT UNSIGNED.
		SavedAt: c.saved.Time, State: c.state,
	}
	if c.wrote.V == int64(generation) {
		r.Sequence = c.sequence.V
	}
	return r
}

// The latest step of a run is the highest of its newest attempt that has saved one. That is nearly always the highest of all, which the
// key gives with one look; when it is of another attempt, an older one went further, and what is looked for stands before it. Each takes the
// run, highestOfLatest twice.
const (
	highest         = "(SELECT MAX(step) FROM workflow_steps WHERE run_id=?)"
	highestOfLatest = "(SELECT x.step FROM workflow_steps x" + byStep + "WHERE x.run_id=? AND x.attempt=" +
		"COALESCE((SELECT latest_attempt FROM persistd_runs WHERE run_id=?),0)" + oneByOne + " ORDER BY x.step DESC LIMIT 1)"
)

// beside is the one row that a record is read together with: table is a table with position and generation, where finds the row with args.
type beside struct {
	table, where string
	args         []any
}

func (s *Store) beside(partition int) (beside, error) {
	r := s.registered.Load()
	if r == nil {
		return beside{}, errNotRegistered
	}
	return beside{"persistd_partitions", string(r.appendStream(nil)) + " AND partition_no=?", []any{partition}}, nil
}

// latestRow is a run's latest step, if there is one, with the newest attempts that have begun and that have saved a step.
type latestRow struct {
	position                  uint64
	generation, begun, latest uint32
	step                      stepScan
}

// Latest implements [readpath.Rows].
func (s *Store) Latest(ctx context.Context, partition int, runID string) (*wire.StepRecord, uint32, uint64, error) {
	var row latestRow
	at, err := s.beside(partition)
	if err == nil {
		row, err = s.latest(ctx, at, runID)
	}
	if err != nil {
		return nil, 0, 0, s.fail("read latest step in partition "+strconv.Itoa(partition), err)
	}
	return row.step.record(row.generation), row.begun, row.position, nil
}

func (r *reads) latest(ctx context.Context, at beside, runID string) (latestRow, error) {
	row, err := r.latestRow(ctx, at, highest, runID, runID, runID)
	if err == nil && row.step.step.Valid && row.step.attempt.V != int64(row.latest) {
		return r.latestRow(ctx, at, highestOfLatest, runID, runID, runID, runID)
	}
	return row, err
}

// latestRow reads position and row at one moment: a statement has one read view, and row and position were committed together. Each part
// is one look into a key. A derived table would read the same, but MariaDB writes one with a JSON column to disk.
func (r *reads) latestRow(ctx context.Context, at beside, step string, runIDs ...any) (row latestRow, err error) {
	err = r.row(ctx, "SELECT p.position, p.generation, COALESCE(r.attempt,0), COALESCE(r.latest_attempt,0), "+stepColumns+
		" FROM "+at.table+" p LEFT JOIN persistd_runs r ON r.run_id=? LEFT JOIN workflow_steps s ON s.run_id=? AND s.step="+step+
		" WHERE "+at.where, append(runIDs, at.args...),
		append([]any{&row.position, &row.generation, &row.begun, &row.latest}, row.step.columns()...)...)
	return row, err //nolint:wrapcheck // the caller says what was read.
}

// Checkpoint implements [readpath.Rows]; its sequence is as Latest's.
func (s *Store) Checkpoint(ctx context.Context, partition int, id string) (record *wire.CheckpointRecord, position uint64, err error) {
	at, err := s.beside(partition)
	if err == nil {
		record, position, err = s.checkpoint(ctx, at, id)
	}
	return record, position, s.fail("read checkpoint in partition "+strconv.Itoa(partition), err)
}

// checkpoint reads position and row at one moment, as latestRow does.
func (r *reads) checkpoint(ctx context.Context, at beside, id string) (*wire.CheckpointRecord, uint64, error) {
	var (
		position    uint64
		generation  uint32
		step, wrote sql.Null[int64]
		sequence    sql.Null[uint64]
		state       []byte
		saved       sql.NullTime
	)
	err := r.row(ctx, "SELECT p.position, p.generation, c.step, c.state, c.updated_at, c.log_seq, c.log_gen"+
		" FROM "+at.table+" p LEFT JOIN workflow_checkpoints c ON c.checkpoint_id=? WHERE "+at.where, append([]any{id}, at.args...),
		&position, &generation, &step, &state, &saved, &sequence, &wrote)
	if err != nil || !step.Valid {
		return nil, position, err //nolint:wrapcheck // the caller says what was read.
	}
	record := &wire.CheckpointRecord{Step: int32(step.V), State: state, SavedAt: saved.Time} //nolint:gosec // G115: an INT.
	if wrote.V == int64(generation) {
		record.Sequence = sequence.V
	}
	return record, position, nil
}
