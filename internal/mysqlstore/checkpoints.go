package mysqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/persistd/persistd/internal/wire"
)

const v2SQL = "SELECT c.step_id, COALESCE(c.label,''), c.rng_seed, c.idempotency_key, c.timestamp, c.attempt, c.created_at, c.log_seq, c.log_gen," +
	" c.state, c.frontier, c.recorded_ios FROM workflow_checkpoints_v2 c" + byStep + "WHERE c.run_id=? AND c.step_id"

// byLabel is as byStep: a run with many checkpoints under one label would have MariaDB read the checkpoints of all runs.
const byLabel = " FORCE INDEX (idx_label, " + runStepKey + ") "

// highestOfLabel takes a run and a label.
const highestOfLabel = "(SELECT MAX(step_id) FROM workflow_checkpoints_v2" + byLabel + "WHERE run_id=? AND label=?" + oneByOneFrontier + ")"

// v2Scan takes a row of v2SQL.
type v2Scan struct {
	record          wire.V2Record
	saved           sql.NullTime
	wrote           uint32
	state, fro, ios []byte
}

func (c *v2Scan) columns() []any {
	r := &c.record
	return []any{
		&r.StepID, &r.Label, &r.RNGSeed, &r.IdempotencyKey, &r.Timestamp, &r.Attempt, &c.saved, &r.Sequence, &c.wrote, &c.state, &c.fro, &c.ios,
	}
}

func (c *v2Scan) of(generation uint32) *wire.V2Record {
	r := &c.record
	r.SavedAt, r.State, r.Frontier, r.RecordedIOs = c.saved.Time, c.state, c.fro, c.ios
	if c.wrote != generation {
		r.Sequence = 0
	}
	return r
}

// CheckpointV2 implements [readpath.History].
func (r *reads) CheckpointV2(ctx context.Context, q wire.V2Request) (*wire.V2Record, error) {
	if !isLabel(q.Label) {
		return nil, nil //nolint:nilnil // there is none.
	}
	where, args := "=?", []any{q.RunID}
	switch {
	case q.StepID != nil:
		args = append(args, *q.StepID)
	case q.Label != "":
		where, args = "="+highestOfLabel, append(args, q.RunID, q.Label)
	default:
		where, args = "=(SELECT MAX(step_id) FROM workflow_checkpoints_v2 WHERE run_id=?)", append(args, q.RunID)
	}
	var row v2Scan
	generation, err := r.generation()
	if err == nil {
		err = r.db.QueryRowContext(ctx, v2SQL+where, args...).Scan(row.columns()...)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil //nolint:nilnil // there is none.
	case err != nil:
		return nil, r.failed("read V2 checkpoint", err)
	}
	return row.of(generation), nil
}

// isLabel is whether a checkpoint can have the label. Of those that none can have, the database takes some for another.
func isLabel(s string) bool { return wire.CheckLabel(s) == nil }

// CheckpointsV2 implements [readpath.History].
func (r *reads) CheckpointsV2(ctx context.Context, q wire.V2ListRequest) (wire.V2ListReply, error) {
	reply, err := r.checkpointsV2(ctx, q)
	return reply, r.failed("read V2 checkpoints", err)
}

func (r *reads) checkpointsV2(ctx context.Context, q wire.V2ListRequest) (reply wire.V2ListReply, err error) {
	generation, err := r.generation()
	if err != nil {
		return reply, err
	}
	p := pager[wire.V2Record]{
		query: func(ctx context.Context, db querier, last *wire.V2Record, n int) (*sql.Rows, error) {
			from := int64(q.From)
			if last != nil {
				from = int64(last.StepID) + 1
			}
			return db.QueryContext(ctx, v2SQL+">=? ORDER BY c.step_id LIMIT ?", q.RunID, from, n)
		},
		scan: func(rows *sql.Rows) (wire.V2Record, int, error) {
			var row v2Scan
			if err := rows.Scan(row.columns()...); err != nil {
				return wire.V2Record{}, 0, err //nolint:wrapcheck // the pager does.
			}
			return *row.of(generation), len(row.state) + len(row.fro) + len(row.ios), nil
		},
	}
	var more bool
	reply.Checkpoints, more, err = p.page(ctx, r.db, q.Limit)
	if more {
		reply.Next = following(reply.Checkpoints[len(reply.Checkpoints)-1].StepID)
	}
	return reply, err
}
