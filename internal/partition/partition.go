package partition

import (
	"context"
	"errors"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Term is one ownership of one partition: from its acquisition until it is released or lost.
type Term struct {
	Partition int
	// Epoch is the fence (I3): it rises with every acquisition, and a commit under an older one changes nothing.
	Epoch uint64
	// Position is where the partition was when the term began: reading starts after it (I2).
	Position uint64
	// Logged is when the event at Position was logged, in whole microseconds; zero when that is not known.
	Logged time.Time
}

// Place is where reading starts after.
func (t Term) Place() wire.Place { return wire.Place{Sequence: t.Position, Logged: t.Logged} }

// ErrHeld is returned by [Leases.Acquire] while another owner's lease runs.
var ErrHeld = errors.New("partition is held by another owner")

// Leases are the partitions' rows in the database, whose clock decides.
type Leases interface {
	// Acquire begins a term of partition and raises its epoch. It does not wait: while another owner's lease runs it returns an
	// error that wraps [ErrHeld]. reclaim says that a lease under this instance's own name is a predecessor's, which is dead, and
	// may be taken before it ends.
	Acquire(ctx context.Context, partition int, reclaim bool) (Term, error)
	// Renew extends the leases of terms and returns those that are no longer this instance's. On an error nothing is known.
	Renew(ctx context.Context, terms []Term) (lost []Term, err error)
	// Release ends a term so that another owner can begin one at once. It is idempotent; a term already lost is no error.
	Release(ctx context.Context, term Term) error
	// Place reads the partition's position and when the event there was logged: what is there, not what is remembered.
	Place(ctx context.Context, partition int) (wire.Place, error)
}

// Log is the events, in order.
type Log interface {
	// Read calls deliver with every event of partition after the place after, in log order and each once, until ctx ends or
	// deliver returns an error, and returns that. It survives a server that is away: it waits and goes on where it was. deliver
	// may block: that is the back-pressure, and while it does nothing more than a bounded read-ahead is taken from the log.
	// A log whose event at after is another one than was logged at after.Logged is not the one that after is of: that is an error.
	// pending, which may be nil, is told how many messages of the partition were in the log behind the event just delivered.
	Read(ctx context.Context, partition int, after wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error
	// Pending counts the partition's events in the log with a sequence above after.
	Pending(ctx context.Context, partition int, after uint64) (int64, error)
	// Trim removes the partition's events that are at or below position and were logged before the time before.
	Trim(ctx context.Context, partition int, position wire.Place, before time.Time) error
}
