package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
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

// Runs implements [readpath.History]. Runs that were not updated since are looked at and left out, at most 1000 of them a page.
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
	found, more, err := r.byBytes(ctx, q, look)
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
		if run.UpdatedAt.Before(q.UpdatedSince) {
			continue
		}
		reply.Runs = append(reply.Runs, run.RunRecord)
		if len(reply.Runs) == limit && (more || i < len(found)-1) {
			reply.Next = run.RunID
			return reply, nil
		}
	}
	if more {
		reply.Next = found[len(found)-1].RunID
	}
	return reply, nil
}

// foundRun is a run with its highest step, which is of some attempt.
type foundRun struct {
	wire.RunRecord

	attemptOfLast uint32
	updated       sql.NullTime
}

// byBytes reads the next n runs, or a few more, in the order of the bytes of their ids. more is whether there may be others after them.
//
// The database has another order: it pads the shorter of two ids with spaces to compare them, so an id that goes on from another's with a
// control character stands before that one. In all else the orders agree. So when some of those that come next there are such ids, those
// that they go on from are read too; then none of the others is before the last of them by bytes.
func (r *reads) byBytes(ctx context.Context, q wire.RunsRequest, n int) (found []foundRun, more bool, err error) {
	where, args := []string{"TRUE"}, []any{}
	within := func(condition, bound string) {
		if bound != "" {
			where, args = append(where, condition), append(args, bound)
		}
	}
	if q.After != "" {
		lower, _ := prefixRange(q.After) // whatever goes on from it, and all else that comes after it
		within("run_id>=?", lower)
		n++ // itself comes, too
	}
	if q.Prefix != "" {
		lower, upper := prefixRange(q.Prefix)
		within("run_id>=?", lower)
		within("run_id<?", upper)
	}
	if found, more, err = r.lookAtRuns(ctx, strings.Join(where, " AND "), args, n); err != nil {
		return nil, false, err
	}
	for bases := range slices.Chunk(basesOf(found), largestChunk) {
		also, _, err := r.lookAtRuns(ctx, "run_id IN "+string(appendMarks(nil, len(bases))), anys(bases), len(bases)+1)
		if err != nil {
			return nil, false, err
		}
		found = append(found, also...)
	}
	slices.SortFunc(found, func(x, y foundRun) int { return strings.Compare(x.RunID, y.RunID) })
	found = slices.DeleteFunc(found, func(run foundRun) bool { return !asks(q, run.RunID) })
	if len(found) == 0 && more { // all of them were of the few that the range has too many
		return r.byBytes(ctx, q, 2*n)
	}
	return found, more, nil
}

// asks is whether q asks for a run, however late it was updated.
func asks(q wire.RunsRequest, id string) bool { return id > q.After && strings.HasPrefix(id, q.Prefix) }

// basesOf are the ids that ids of found go on from with a control character, perhaps after spaces; those that are in found left out.
func basesOf(found []foundRun) []string {
	there, bases := map[string]bool{}, map[string]bool{}
	for i := range found {
		id := found[i].RunID
		there[id] = true
		for end := range len(id) {
			if base := strings.TrimRight(id[:end], " "); id[end] < ' ' && base != "" {
				bases[base] = true
			}
		}
	}
	maps.DeleteFunc(bases, func(id string, _ bool) bool { return there[id] })
	return slices.Sorted(maps.Keys(bases))
}

// lookAtRuns reads the first n runs, or a few more or less, in the order of the database, that a condition finds. more is whether there may be others
// after them.
//
// MySQL may miss a row that is written over meanwhile, as [oneByOne] says, and here that cannot help: the key has all that is looked at, and a state
// beside it would be read of every step. A run that has but that one would not be there. So MySQL is asked twice, and what one look
// misses the other has.
func (r *reads) lookAtRuns(ctx context.Context, where string, args []any, n int) (found []foundRun, more bool, err error) {
	found, err = r.lookAtRunsOnce(ctx, where, args, n)
	if err != nil {
		return nil, false, err
	}
	var misses bool
	if err := r.db.QueryRowContext(ctx, "SELECT VERSION() NOT LIKE '%MariaDB%'").Scan(&misses); err != nil {
		return nil, false, fmt.Errorf("ask for the version: %w", err)
	}
	if !misses {
		return found, len(found) == n, nil
	}
	for {
		again, err := r.lookAtRunsOnce(ctx, where, args, n)
		if err != nil {
			return nil, false, err
		}
		if both, more, ok := bothLooks(found, again, n); ok {
			return both, more, nil
		}
		found = again
	}
}

// bothLooks is what either of two looks at n runs found, and of a run that both did the one that went further. Both are in the order of the
// database, and so is the first part of the result; what found missed follows it. Where one look missed some, it came further before it had its n: what
// is beyond the last run that both found was looked at but once, and is left for the next page. Two that have none in common say nothing: ok
// is false.
func bothLooks(found, again []foundRun, n int) (both []foundRun, more, ok bool) {
	at := make(map[string]int, len(found))
	for i := range found {
		at[found[i].RunID] = i
	}
	if more = len(found) == n || len(again) == n; more {
		last := len(again) - 1
		for ; last >= 0; last-- {
			if i, common := at[again[last].RunID]; common {
				found = found[:i+1]
				break
			}
		}
		if again = again[:last+1]; last < 0 {
			return nil, false, false
		}
	}
	both = slices.Clone(found)
	for i := range again {
		switch j, common := at[again[i].RunID]; {
		case !common:
			both = append(both, again[i])
		case again[i].LastStep > both[j].LastStep:
			both[j] = again[i]
		}
	}
	return both, more, true
}

func (r *reads) lookAtRunsOnce(ctx context.Context, where string, args []any, n int) (_ []foundRun, err error) {
	rows, err := r.db.QueryContext(ctx, runsHead+where+runsTail, append(args, n)...)
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
