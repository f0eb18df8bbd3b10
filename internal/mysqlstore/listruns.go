package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/persistd/persistd/internal/wire"
)

// runsHead and runsTail read runs with their highest step. The inner query skips from run to run in the key, however many steps they have.
const (
	runsHead = "SELECT g.run_id, COALESCE(r.latest_attempt,0), s.attempt, s.step, s.node_id, COALESCE(s.updated_at, s.created_at)" +
		" FROM (SELECT run_id, MAX(step) AS last FROM workflow_steps" + byStep + "WHERE "
	runsTail = " GROUP BY run_id ORDER BY run_id LIMIT ?) g LEFT JOIN persistd_runs r ON r.run_id=g.run_id" +
		" JOIN workflow_steps s ON s.run_id=g.run_id AND s.step=g.last ORDER BY g.run_id"
)

// Runs implements [readpath.History]. The order is the database's, that of the ids' bytes; only an id with control characters stands
// before its own beginning. Runs that were not updated since are looked at and left out, at most 1000 of them a page.
func (r *reads) Runs(ctx context.Context, q wire.RunsRequest) (wire.RunsReply, error) {
	reply, err := r.runs(ctx, q)
	return reply, r.failed("read runs", err)
}

func (r *reads) runs(ctx context.Context, q wire.RunsRequest) (reply wire.RunsReply, err error) {
	if !utf8.ValidString(q.Prefix) || !utf8.ValidString(q.After) {
		return reply, nil // the server takes no such text, and no id is one
	}
	limit := q.Limit
	if limit <= 0 || limit > pageRecords {
		limit = pageRecords
	}
	look := limit
	if !q.UpdatedSince.IsZero() {
		look = pageRecords
	}
	found, err := r.lookAtRuns(ctx, q, look)
	if err != nil {
		return reply, err
	}
	for i := range found {
		run := &found[i]
		if run.Attempt != run.attemptOfLast { // an older attempt went further than the newest has
			there, err := r.latestOf(ctx, run)
			if err != nil {
				return wire.RunsReply{}, err
			}
			if !there {
				continue // deleted in between
			}
		}
		run.UpdatedAt = run.updated.Time
		if !strings.HasPrefix(run.RunID, q.Prefix) || run.UpdatedAt.Before(q.UpdatedSince) {
			continue
		}
		reply.Runs = append(reply.Runs, run.RunRecord)
		if len(reply.Runs) == limit {
			reply.Next = run.RunID
			return reply, nil
		}
	}
	if len(found) == look {
		reply.Next = found[look-1].RunID
	}
	return reply, nil
}

// foundRun is a run with its highest step, which is of some attempt.
type foundRun struct {
	wire.RunRecord

	attemptOfLast uint32
	updated       sql.NullTime
}

func (r *reads) lookAtRuns(ctx context.Context, q wire.RunsRequest, n int) (_ []foundRun, err error) {
	where, args := []string{"TRUE"}, []any{}
	within := func(condition, bound string) {
		if bound != "" {
			where, args = append(where, condition), append(args, bound)
		}
	}
	within("run_id>?", q.After)
	if q.Prefix != "" {
		lower, upper := prefixRange(q.Prefix)
		within("run_id>=?", lower)
		within("run_id<?", upper)
	}
	rows, err := r.db.QueryContext(ctx, runsHead+strings.Join(where, " AND ")+runsTail, append(args, n)...)
	if err != nil {
		return nil, fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []foundRun
	for rows.Next() {
		var run foundRun
		if err := rows.Scan(&run.RunID, &run.Attempt, &run.attemptOfLast, &run.LastStep, &run.NodeID, &run.updated); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		all = append(all, run)
	}
	return all, wrap("read", rows.Err())
}

// latestOf sets what run says of its latest step, if there is one.
func (r *reads) latestOf(ctx context.Context, run *foundRun) (there bool, err error) {
	err = r.db.QueryRowContext(ctx, "SELECT s.step, s.node_id, COALESCE(s.updated_at, s.created_at) FROM workflow_steps s"+
		" WHERE s.run_id=? AND s.step="+highestOfLatest, run.RunID, run.RunID, run.RunID).Scan(&run.LastStep, &run.NodeID, &run.updated)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return true, wrap("read latest step", err)
}

// prefixRange is where in the database's order the ids that begin with prefix are: from lower on, and before upper, unless that is empty.
// Others may be in between. LIKE would miss some: both engines take no character beyond U+FFFF for a continuation, and none before the
// space, which they pad the shorter of two strings with to compare them.
func prefixRange(prefix string) (lower, upper string) {
	lower = prefix + strings.Repeat("\x00", max(0, wire.MaxID-utf8.RuneCountInString(prefix)))
	for upper = prefix; upper != ""; {
		last, size := utf8.DecodeLastRuneInString(upper)
		upper = upper[:len(upper)-size]
		switch last {
		case utf8.MaxRune: // nothing follows it: what is before it has to rise
		case 0xD7FF:
			return lower, upper + "\ue000" // beyond the surrogates
		default:
			return lower, upper + string(last+1)
		}
	}
	return lower, ""
}
