package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// Steps implements [readpath.History].
func (r *reads) Steps(ctx context.Context, q wire.StepsRequest) (wire.StepsReply, error) {
	reply, err := r.steps(ctx, q)
	return reply, r.failed("read steps", err)
}

func (r *reads) steps(ctx context.Context, q wire.StepsRequest) (reply wire.StepsReply, err error) {
	generation, err := r.generation()
	if err != nil {
		return reply, err
	}
	p := pager[wire.StepRecord]{
		query: func(ctx context.Context, db querier, last *wire.StepRecord, n int) (*sql.Rows, error) {
			from := int64(q.From)
			if last != nil {
				from = int64(last.Step) + 1
			}
			return db.QueryContext(ctx, "SELECT "+stepColumns+" FROM workflow_steps s"+byStep+"WHERE s.run_id=? AND s.step>=? ORDER BY s.step LIMIT ?",
				q.RunID, from, n)
		},
		scan: func(rows *sql.Rows) (wire.StepRecord, int, error) {
			var c stepScan
			if err := rows.Scan(c.columns()...); err != nil {
				return wire.StepRecord{}, 0, err //nolint:wrapcheck // the pager does.
			}
			return *c.record(generation), len(c.state), nil
		},
	}
	var more bool
	reply.Steps, more, err = p.page(ctx, r.db, q.Limit)
	if more {
		reply.Next = following(reply.Steps[len(reply.Steps)-1].Step)
	}
	return reply, err
}

// following is the number after n, nil when there is none.
func following(n int32) *int32 {
	if n == math.MaxInt32 {
		return nil
	}
	n++
	return &n
}

// changed finds the steps from a number on that were written after a cursor. No key has this order: the rows of the run are looked
// through, but not their states.
const changed = "SELECT step, log_gen, log_seq FROM workflow_steps" + byStep + "WHERE run_id=? AND step>=?" +
	" AND (log_gen>? OR log_gen=? AND (log_seq>? OR log_seq=? AND step>?)) ORDER BY log_gen, log_seq, step LIMIT ?"

// Changes implements [readpath.History]. Steps that persistd did not write stand before all others, in the order of their numbers.
func (r *reads) Changes(ctx context.Context, runID string, from int32, after readpath.Cursor) ([]readpath.Change, error) {
	changes, err := r.changes(ctx, runID, from, after)
	return changes, r.failed("read changes", err)
}

// changes looks for what changed, and then reads it: sorted with their states, MySQL's sort buffer would not take them. What was
// written again in between is left out. It has another place now, behind those that were found; so a caller who goes on from the last one
// that is returned comes by it.
func (r *reads) changes(ctx context.Context, runID string, from int32, after readpath.Cursor) ([]readpath.Change, error) {
	generation, err := r.generation()
	if err != nil {
		return nil, err
	}
	for {
		found, err := r.rising(ctx, runID, from, after)
		if err != nil || len(found) == 0 {
			return nil, err
		}
		numbers := make([]int32, len(found))
		for i, at := range found {
			numbers[i] = at.Step
		}
		saved, err := r.numbered(ctx, runID, numbers, generation)
		if err != nil {
			return nil, err
		}
		var all []readpath.Change
		for _, s := range saved {
			if slices.Contains(found, s.at) {
				all = append(all, readpath.Change{At: s.at, Step: s.record})
			}
		}
		if len(all) > 0 {
			return all, nil
		}
	}
}

// savedStep is a step with where and when it was last saved.
type savedStep struct {
	record wire.StepRecord
	at     readpath.Cursor
	saved  sql.NullTime
}

// numbered reads a page of the run's steps with these numbers, which rise. Those that are not there are left out.
func (r *reads) numbered(ctx context.Context, runID string, numbers []int32, generation uint32) ([]savedStep, error) {
	p := pager[savedStep]{
		query: func(ctx context.Context, db querier, last *savedStep, n int) (*sql.Rows, error) {
			next := numbers
			if last != nil {
				i, _ := slices.BinarySearch(numbers, last.record.Step)
				next = numbers[i+1:]
			}
			next = next[:min(n, len(next))]
			return db.QueryContext(ctx, "SELECT "+stepColumns+", COALESCE(s.updated_at, s.created_at) FROM workflow_steps s"+byStep+
				"WHERE s.run_id=? AND s.step IN "+string(appendMarks(nil, len(next)))+" ORDER BY s.step", append([]any{runID}, anys(next)...)...)
		},
		scan: func(rows *sql.Rows) (s savedStep, size int, err error) {
			var row stepScan
			if err := rows.Scan(append(row.columns(), &s.saved)...); err != nil {
				return s, 0, err //nolint:wrapcheck // the pager does.
			}
			s.record = *row.record(generation)
			s.at = readpath.Cursor{Generation: uint32(row.wrote.V), Sequence: row.sequence.V, Step: s.record.Step} //nolint:gosec // G115: an INT UNSIGNED.
			return s, len(row.state), nil
		},
	}
	all, _, err := p.page(ctx, r.db, len(numbers))
	return all, err
}

// rising are the places of what changed, up to where the numbers of the steps no longer rise: what can be read in the order of both.
func (r *reads) rising(ctx context.Context, runID string, from int32, after readpath.Cursor) (_ []readpath.Cursor, err error) {
	rows, err := r.db.QueryContext(ctx, changed, runID, from, after.Generation, after.Generation, after.Sequence, after.Sequence, after.Step, pageRecords)
	if err != nil {
		return nil, fmt.Errorf("look for changes: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []readpath.Cursor
	for rows.Next() {
		var at readpath.Cursor
		if err := rows.Scan(&at.Step, &at.Generation, &at.Sequence); err != nil {
			return nil, fmt.Errorf("look for changes: %w", err)
		}
		if len(all) > 0 && at.Step <= all[len(all)-1].Step {
			break
		}
		all = append(all, at)
	}
	return all, wrap("look for changes", rows.Err())
}
