package readpath

import (
	"context"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/wire"
)

// look is when the database was last asked for a partition's position by those who wait for a commit.
type look struct {
	begun   time.Time
	pending bool // not answered yet
}

// barrier blocks until MySQL has every event of the run that was acknowledged before the call, or ctx ends.
//
//	last ← the run's last event, from the leader      acknowledged before the call: at or below last, or trimmed and so committed
//	until the position in MySQL ≥ last: wait          what was heard of it is a hint; the database may have been restored since
//
// It returns last, 0 when the log has nothing of the run.
func (r *Reader) barrier(ctx context.Context, p int, namespace, runID string) (last uint64, err error) {
	last, err = r.Tail.Last(ctx, p, namespace, wire.KindRun, runID)
	if err != nil {
		return 0, fmt.Errorf("read end of the log: %w", err)
	}
	for last > 0 {
		pos, err := r.find(ctx, p)
		if err != nil {
			return 0, err
		}
		if pos >= last {
			break
		}
		r.urge(p, last)
		if _, err := r.await(ctx, p, last); err != nil {
			return 0, fmt.Errorf("wait for event %d to be committed: %w", last, err)
		}
	}
	return last, nil
}

// urge says that somebody waits for the event seq, which is in the log.
func (r *Reader) urge(p int, seq uint64) {
	if r.Urge != nil {
		r.Urge(p, seq)
	}
}

// await blocks until p's position is known to have passed seq, or ctx ends, whose cause it returns.
func (r *Reader) await(ctx context.Context, p int, seq uint64) (position.Outcome, error) {
	recheck := r.Recheck
	if recheck == 0 {
		recheck = 500 * time.Millisecond
	}
	if r.Positions.Bound(p) == 0 { // nothing was heard of the partition yet, and on an idle one nothing will be
		if err := r.look(ctx, p, recheck); err != nil {
			return position.Outcome{}, err
		}
	}
	for {
		// Announcements can be lost, so one period without any is followed by a look at the database.
		out, err := r.waitFor(ctx, p, seq, recheck)
		switch {
		case err == nil:
			return out, nil
		case ctx.Err() != nil:
			return out, context.Cause(ctx)
		}
		if err := r.look(ctx, p, recheck); err != nil {
			return out, err
		}
	}
}

func (r *Reader) waitFor(ctx context.Context, p int, seq uint64, limit time.Duration) (position.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.Positions.Wait(ctx, p, seq)
}

// look asks the database for p's position, unless another who waits is at it or was within recheck: what it finds wakes all it
// concerns. However many wait, and for however long, the database is asked once per recheck and partition.
func (r *Reader) look(ctx context.Context, p int, recheck time.Duration) error {
	if !r.mayLook(p, recheck) {
		return nil
	}
	defer r.looked(p)
	_, err := r.find(ctx, p)
	return err
}

// find asks the database for p's position.
func (r *Reader) find(ctx context.Context, p int) (uint64, error) {
	before := r.Positions.Bound(p)
	pos, err := r.Rows.Position(ctx, p)
	if err != nil {
		return 0, fmt.Errorf("read position: %w", err)
	}
	r.Positions.Found(p, before, pos)
	return pos, nil
}

func (r *Reader) mayLook(p int, recheck time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, now := r.looks[p], time.Now()
	if last.pending || now.Sub(last.begun) < recheck {
		return false
	}
	if r.looks == nil {
		r.looks = map[int]look{}
	}
	r.looks[p] = look{begun: now, pending: true}
	return true
}

func (r *Reader) looked(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks[p] = look{begun: r.looks[p].begun}
}
