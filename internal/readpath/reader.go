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
	// Recheck is how long who waits for a commit relies on announcements before the database is asked. Default 500 ms.
	Recheck time.Duration

	mu    sync.Mutex   // guards looks; nothing blocks while it is held
	looks map[int]look // by partition
}

// restarts bounds how often one read begins anew because the position went back: more than one restore within a read is not an
// operator's doing.
const restarts = 5

// read reads tail and row in the order that the package comment gives reasons for, and returns the position that row was read with: what
// tail saw after it counts, beside row. what is read is for people. tail is called again when its lower bound was none, and begins anew.
func (r *Reader) read(p int, what string, tail func(after uint64) error, row func() (position uint64, err error)) (uint64, error) {
	for range restarts {
		bound := r.Positions.Bound(p)
		if err := tail(bound); err != nil {
			return 0, fmt.Errorf("read tail: %w", err)
		}
		pos, err := row()
		if err != nil {
			return 0, fmt.Errorf("read row: %w", err)
		}
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
