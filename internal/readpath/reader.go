package readpath

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/wire"
)

// ErrNamespace is returned for a namespace that this daemon does not keep.
var ErrNamespace = errors.New("unknown namespace")

// Letters finds dead letters.
type Letters interface {
	// DeadLetter returns why the event at seq was not applied; found is false when there is no dead letter of it. It sees every
	// letter that was kept before the call.
	DeadLetter(ctx context.Context, partition int, seq uint64) (reason wire.Poison, found bool, err error)
}

// Reader answers reads. Its methods may be called from any goroutine, on any replica.
type Reader struct {
	// Rows, Tail and Letters are where the data is.
	Rows    Rows
	Tail    Tail
	Letters Letters
	// Positions is told of the positions that reads find, and gives the lower bounds.
	Positions *position.Tracker
	// Partitions is how many the stream has.
	Partitions int
	// Namespace is the only one that is kept.
	Namespace string
	// Recheck is how long Committed relies on announcements before it asks the database. Default 500 ms.
	Recheck time.Duration

	mu    sync.Mutex   // guards looks; nothing blocks while it is held
	looks map[int]look // by partition
}

// look is when the database was last asked for a partition's position by those who wait for a commit.
type look struct {
	begun   time.Time
	pending bool // not answered yet
}

// restarts bounds how often one read begins anew because the position went back: more than one restore within a read is not an
// operator's doing.
const restarts = 5

// LoadLatest returns the run's step with the highest number, with every write in it that was acknowledged before the call (I6), or
// nil when the run has none.
func (r *Reader) LoadLatest(ctx context.Context, namespace, runID string) (*wire.StepRecord, error) {
	if err := r.check(namespace, runID); err != nil {
		return nil, err
	}
	p := wire.Partition(namespace, runID, r.Partitions)
	for range restarts {
		bound := r.Positions.Bound(p)
		var tail candidates
		if err := r.Tail.Tail(ctx, p, namespace, wire.KindRun, runID, bound, tail.see); err != nil {
			return nil, fmt.Errorf("read tail: %w", err)
		}
		row, _, pos, err := r.Rows.Latest(ctx, p, runID)
		if err != nil {
			return nil, fmt.Errorf("read row: %w", err)
		}
		if pos < bound {
			r.Positions.Found(p, bound, pos)
			continue
		}
		if bound == 0 && pos > 0 {
			// Nothing was heard of the partition since this process began. While nobody writes to it nothing will be, and each read
			// would fetch all that the log keeps of its run.
			r.Positions.Advance(position.Commit{Partition: p, From: pos, To: pos})
		}
		return tail.latest(row, pos), nil
	}
	return nil, fmt.Errorf("read run: the position of partition %d went back %d times", p, restarts)
}

// Committed blocks until the event at seq, of the run, is in MySQL or has become a dead letter (then it returns why), or ctx ends.
func (r *Reader) Committed(ctx context.Context, namespace, runID string, seq uint64) (*wire.Poison, error) {
	if err := r.check(namespace, runID); err != nil {
		return nil, err
	}
	p := wire.Partition(namespace, runID, r.Partitions)
	recheck := r.Recheck
	if recheck == 0 {
		recheck = 500 * time.Millisecond
	}
	if r.Positions.Bound(p) == 0 { // nothing was heard of the partition yet, and on an idle one nothing will be
		if err := r.look(ctx, p, recheck); err != nil {
			return nil, err
		}
	}
	for {
		// Announcements can be lost, so one period without any is followed by a look at the database.
		out, err := r.waitFor(ctx, p, seq, recheck)
		switch {
		case err == nil && out.Known:
			return out.Rejected, nil
		case err == nil:
			return r.outcome(ctx, p, seq)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		}
		if err := r.look(ctx, p, recheck); err != nil {
			return nil, err
		}
	}
}

// look asks the database for p's position, unless another who waits is at it or was within recheck: what it finds wakes all it
// concerns. However many wait, and for however long, the database is asked once per recheck and partition.
func (r *Reader) look(ctx context.Context, p int, recheck time.Duration) error {
	if !r.mayLook(p, recheck) {
		return nil
	}
	defer r.looked(p)
	before := r.Positions.Bound(p)
	pos, err := r.Rows.Position(ctx, p)
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	r.Positions.Found(p, before, pos)
	return nil
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

func (r *Reader) waitFor(ctx context.Context, p int, seq uint64, limit time.Duration) (position.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.Positions.Wait(ctx, p, seq)
}

// outcome is what became of an event that the position has passed without anybody telling how.
func (r *Reader) outcome(ctx context.Context, p int, seq uint64) (*wire.Poison, error) {
	why, found, err := r.Letters.DeadLetter(ctx, p, seq)
	if err != nil {
		return nil, fmt.Errorf("look for dead letter: %w", err)
	}
	if !found {
		return nil, nil //nolint:nilnil // no reason, no error: it was applied.
	}
	return &why, nil
}

func (r *Reader) check(namespace, runID string) error {
	if namespace != r.Namespace {
		return fmt.Errorf("%w %q", ErrNamespace, namespace)
	}
	return wire.CheckID(runID)
}
