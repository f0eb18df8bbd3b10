package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// claimPages is how many pages of pending events a claim looks through for some that are free.
const claimPages = 10

// errFaster says that another holder took events that were free a moment before.
var errFaster = &verdict{class: batcher.Again, err: errors.New("another took some of the events in between")}

// Claim implements [readpath.Outbox].
//
// Two claims never give out the same event, nor events of one run to two holders: whoever has events of a run has the first of its
// pending ones, and of several who take that one all but the first write nothing.
//
//	look at pending events in their order, without locks      ── a run that begins with another's event is passed over
//	lease those that were chosen, if all are free still       ── not all of them: roll back, and look again
//	read them, commit
//
// Locks are only taken on rows by their primary key, in its order, so that claims, marks and commits do not wait for each other in
// circles, and no claim for a commit that is under way.
func (r *reads) Claim(ctx context.Context, q wire.EventsRequest) (events []wire.OutboxRecord, err error) {
	limit := q.Limit
	if limit <= 0 || limit > largestChunk {
		limit = largestChunk
	}
	err = retry(ctx, func() (err error) {
		events, err = r.claim(ctx, q, limit)
		return err
	})
	return events, r.failed("claim events", err)
}

func (r *reads) claim(ctx context.Context, q wire.EventsRequest, limit int) ([]wire.OutboxRecord, error) {
	ids, err := r.free(ctx, q.Holder, limit)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed
	in := string(appendMarks(nil, len(ids)))
	res, err := tx.ExecContext(ctx, "UPDATE events_outbox FORCE INDEX (PRIMARY)"+
		" SET leased_until=UTC_TIMESTAMP(6)+INTERVAL ? MICROSECOND, lease_holder=? WHERE id IN "+in+
		" AND emitted_at IS NULL AND "+isFree, append([]any{1000 * q.LeaseMS, q.Holder}, append(anys(ids), q.Holder)...)...)
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n != int64(len(ids)) {
		return nil, errors.Join(err, errFaster)
	}
	events, err := readEvents(ctx, tx, in, ids)
	if err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return events, nil
}

// isFree takes the holder, whose own events are free to it.
const isFree = "(leased_until IS NULL OR leased_until<=UTC_TIMESTAMP(6) OR lease_holder=?)"

// free chooses the ids of pending events that holder may have, in their order: of every run the first ones, as far as they are not
// another's. Behind some thousand events that are another's it looks no further.
func (r *reads) free(ctx context.Context, holder string, limit int) ([]string, error) {
	var (
		chosen choice
		last   uint64
	)
	for n, pages := limit, 0; pages < claimPages; n, pages = pageRecords, pages+1 {
		pending, err := r.pending(ctx, holder, last, n)
		if err != nil {
			return nil, err
		}
		for _, p := range pending {
			if !chosen.take(p, limit) {
				return chosen.ids, nil
			}
		}
		if len(pending) < n || len(chosen.ids) == limit {
			break
		}
		last = pending[n-1].ord
	}
	return chosen.ids, nil
}

// pendingEvent is an event that was not emitted, as a claim looks at it.
type pendingEvent struct {
	ord     uint64
	id, run string
	free    bool
	size    int // when it is free
}

// choice are the events that a claim takes.
type choice struct {
	ids   []string
	size  int
	taken map[string]bool // runs that have an event of another's
}

// take takes p, if it is free and nothing is before it; false is when the claim is full.
func (c *choice) take(p pendingEvent, limit int) bool {
	switch {
	case c.taken[p.run]:
	case !p.free:
		if c.taken == nil {
			c.taken = map[string]bool{}
		}
		c.taken[p.run] = true
	case len(c.ids) == limit, len(c.ids) > 0 && c.size+p.size > pageBytes:
		return false
	default:
		c.ids, c.size = append(c.ids, p.id), c.size+p.size
	}
	return true
}

// pending reads the next n pending events after the place last.
func (r *reads) pending(ctx context.Context, holder string, last uint64, n int) (_ []pendingEvent, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT ord, id, run_id, "+isFree+", IF("+isFree+", LENGTH(event_data), 0)"+
		" FROM events_outbox WHERE emitted_at IS NULL AND ord>? ORDER BY ord LIMIT ?", holder, holder, last, n)
	if err != nil {
		return nil, fmt.Errorf("look for pending events: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []pendingEvent
	for rows.Next() {
		var p pendingEvent
		if err := rows.Scan(&p.ord, &p.id, &p.run, &p.free, &p.size); err != nil {
			return nil, fmt.Errorf("look for pending events: %w", err)
		}
		all = append(all, p)
	}
	return all, wrap("look for pending events", rows.Err())
}

// readEvents reads the events of ids, in their order.
func readEvents(ctx context.Context, tx *sql.Tx, in string, ids []string) (_ []wire.OutboxRecord, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT id, run_id, created_at, event_data FROM events_outbox WHERE id IN "+in, anys(ids)...)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	found := make(map[string]wire.OutboxRecord, len(ids))
	for rows.Next() {
		var (
			ev    wire.OutboxRecord
			data  []byte
			saved sql.NullTime
		)
		if err := rows.Scan(&ev.EventID, &ev.RunID, &saved, &data); err != nil {
			return nil, fmt.Errorf("read events: %w", err)
		}
		ev.SavedAt, ev.Data = saved.Time, data
		found[ev.EventID] = ev
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	all := make([]wire.OutboxRecord, len(ids))
	for i, id := range ids {
		all[i] = found[id]
	}
	return all, nil
}

// MarkEmitted implements [readpath.Outbox]. What cannot be an id is passed over: the database would take some of it for one.
func (r *reads) MarkEmitted(ctx context.Context, ids []string) (marked int64, err error) {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return wire.CheckID(id) != nil })
	slices.Sort(ids)
	ids = slices.Compact(ids)
	for part := range slices.Chunk(ids, largestChunk) {
		var n int64
		err := retry(ctx, func() (err error) {
			n, err = r.mark(ctx, part)
			return err
		})
		if err != nil {
			return marked, r.failed("mark events as emitted", err)
		}
		marked += n
	}
	return marked, nil
}

func (r *reads) mark(ctx context.Context, ids []string) (int64, error) {
	res, err := r.db.ExecContext(ctx, "UPDATE events_outbox FORCE INDEX (PRIMARY) SET emitted_at=UTC_TIMESTAMP(6)"+
		" WHERE emitted_at IS NULL AND id IN "+string(appendMarks(nil, len(ids))), anys(ids)...)
	if err != nil {
		return 0, fmt.Errorf("update: %w", err)
	}
	return res.RowsAffected() //nolint:wrapcheck // never fails with this driver.
}
