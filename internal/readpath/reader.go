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
	// Rows, History and Outbox are MySQL; Tail and Letters the log and its dead letters.
	Rows    Rows
	History History
	Outbox  Outbox
	Tail    Tail
	Letters Letters
	// Positions is told of the positions that reads find, and gives the lower bounds.
	Positions *position.Tracker
	// Partitions is how many the stream has.
	Partitions int
	// Namespace is the only one that is kept.
	Namespace string
	// Urge tells the partition's owner, should that be this replica, that somebody waits for the event with the sequence seq to be committed.
	// It must not block, and is a hint: a commit comes without it too, later. May be nil.
	Urge func(partition int, seq uint64)
	// Recheck is how long who waits for a commit relies on announcements before the database is asked. Default 500 ms.
	Recheck time.Duration

	mu    sync.Mutex   // guards what follows; nothing blocks while it is held
	looks map[int]look // by partition
	// behind has the partitions whose keys were last found to have events that the row lacks, or none in the log: their rows are not read
	// early, for nothing.
	behind map[int]bool
}

// restarts bounds how often one read begins anew because the position went back: more than one restore within a read is not an
// operator's doing.
const restarts = 5

// read reads tail and row in the order that the package comment gives reasons for, and returns the position that row was read with: what
// tail saw after it counts, beside row. tail returns the sequence of the key's last event in the log, 0 for none. what is read is for people.
// Both are called again when the lower bound was none, and row when it was read too early; each call begins anew.
func (r *Reader) read(p int, what string, tail func(after uint64) (last uint64, err error), row func() (position uint64, err error)) (uint64, error) {
	for range restarts {
		bound := r.Positions.Bound(p)
		early := r.early(p, row)
		last, err := tail(bound)
		pos, rowErr := early.wait()
		if err != nil {
			return 0, fmt.Errorf("read tail: %w", err)
		}
		if rowErr == nil && !has(pos, last) {
			pos, rowErr = row()
		}
		if rowErr != nil {
			return 0, fmt.Errorf("read row: %w", rowErr)
		}
		r.remember(p, has(pos, last))
		if pos < bound {
			r.Positions.Found(p, bound, pos)
			continue
		}
		if bound == 0 && pos > 0 {
			// Nothing was heard of the partition since this process began. While nobody writes to it nothing will be, and each read
			// would fetch all that the log keeps of its key.
			r.Positions.Advance(position.Commit{Partition: p, From: pos, To: pos})
		}
		return pos, nil
	}
	return 0, fmt.Errorf("read %s: the position of partition %d went back %d times", what, p, restarts)
}

// has is whether what is read at the position pos has all that a key's subject ever held, though it was read before the log said that last is
// there, the key's last event: then nothing above last was trimmed.
func has(pos, last uint64) bool { return 0 < last && last <= pos }

// earlyRow is a row that is read beside the tail; nil is none.
type earlyRow struct {
	done     chan struct{} // closed when the rest is set
	position uint64
	err      error
}

// early begins to read a row of p, if that is likely to be of use. Its reading ends with wait.
func (r *Reader) early(p int, row func() (position uint64, err error)) *earlyRow {
	r.mu.Lock()
	behind := r.behind[p]
	r.mu.Unlock()
	if behind {
		return nil
	}
	e := &earlyRow{done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.position, e.err = row()
	}()
	return e
}

// wait returns the position that the row was read with, 0 when none was read. It blocks for as long as that takes, which the read's ctx bounds.
func (e *earlyRow) wait() (position uint64, err error) {
	if e == nil {
		return 0, nil
	}
	<-e.done
	return e.position, e.err
}

// remember notes whether the row of a key of p had all of it.
func (r *Reader) remember(p int, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.behind[p] != had {
		return
	}
	if r.behind == nil {
		r.behind = map[int]bool{}
	}
	r.behind[p] = !had
}

func (r *Reader) check(namespace, id string) error {
	if err := r.checkNamespace(namespace); err != nil {
		return err
	}
	return wire.CheckID(id)
}

func (r *Reader) checkNamespace(namespace string) error {
	if namespace != r.Namespace {
		return fmt.Errorf("%w %q", ErrNamespace, namespace)
	}
	return nil
}
