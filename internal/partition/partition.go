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

// Leases are the partitions' rows and the list of replicas in the database, whose clock decides.
type Leases interface {
	// Look reads who owns what and which replicas there are, at one moment. It waits for no lock.
	Look(ctx context.Context) (View, error)
	// Acquire begins a term of partition and raises its epoch. It does not wait: while another owner's lease runs, or something of
	// its is still under way, it returns an error that wraps [ErrHeld]. reclaim says that a lease under this instance's own name is a predecessor's, which is dead, and
	// may be taken before it ends.
	Acquire(ctx context.Context, partition int, reclaim bool) (Term, error)
	// Renew extends the leases of terms, of which there may be none, and returns those that are no longer this instance's. present
	// says that for as long as a lease this replica shares in the partitions; if it is false, it takes that back. On an error
	// nothing is known.
	Renew(ctx context.Context, terms []Term, present bool) (lost []Term, err error)
	// Release ends a term so that another owner can begin one at once. It is idempotent; a term already lost is no error.
	Release(ctx context.Context, term Term) error
	// Place reads the partition's position and when the event there was logged: what is there, not what is remembered.
	Place(ctx context.Context, partition int) (wire.Place, error)
}

// View is who owns what, as one look at the database shows it.
type View struct {
	// Self is this replica's name.
	Self string
	// Replicas are those that share in the partitions, by name, and for how long they are known to: more than 0.
	Replicas map[string]time.Duration
	// Leases are by partition. One that has no row, because the database was restored to before it had any, is the zero Lease.
	Leases []Lease
}

// Lease is who owns a partition.
type Lease struct {
	// Owner is empty when the partition was released, or was never owned.
	Owner string
	// Left is for how long the lease still runs; 0 or less when it has ended.
	Left time.Duration
}

// free is whether anybody may take the partition.
func (l Lease) free() bool { return l.Owner == "" || l.Left <= 0 }

// ErrAgain is what a [Log.Read] wraps that ended because the partition is to be read anew, by whoever has it. It does not show that this
// replica cannot read: another one is not waited for.
var ErrAgain = errors.New("partition is to be read again")

// Log is the events, in order.
type Log interface {
	// Read calls deliver with every event of partition after the place after, in log order and each once, until ctx ends or
	// deliver returns an error, and returns that. It survives a server that is away: it waits and goes on where it was. deliver
	// may block: that is the back-pressure, and while it does nothing more than a bounded read-ahead is taken from the log.
	// A log whose event at after is another one than was logged at after.Logged is not the one that after is of: that is an error.
	// pending, which may be nil, is told how many messages of the partition were in the log behind the event just delivered, as far as that
	// is known.
	Read(ctx context.Context, partition int, after wire.Place, deliver func(context.Context, wire.Event) error, pending func(int64)) error
	// Pending counts the partition's events in the log with a sequence above after.
	Pending(ctx context.Context, partition int, after uint64) (int64, error)
	// Trim removes the partition's events that are at or below position and were logged before the time before.
	Trim(ctx context.Context, partition int, position wire.Place, before time.Time) error
}
