package simulation

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// kind is what becomes of a transaction, as far as that follows from itself.
type kind int

const (
	good      kind = iota // applied, unless its attempt is over
	malformed             // poison: it is no JSON
	refused               // poison: the database never takes it
	orphan                // poison: a part without its others
)

// transaction is what was published at once: one event, in one message or in parts.
type transaction struct {
	kind      kind
	id        string // the message id
	key       key
	partition int
	attempt   uint32
	ops       []wire.Op
	bodies    []wire.Message // subject, headers and body of each part
	acked     bool
	next      *linked // what it is of its writer's chain, nil for nothing

	// Set when it is logged.
	generation uint32
	first      uint64
	last       uint64 // its sequence, the last part's
	logged     time.Time
}

// key is what an event is published under.
type key struct{ kind, id string }

// log is the stream: what every server of it has, the leader's truth. It is guarded by world.mu, as everything that the world has is.
type log struct {
	made       time.Time
	generation uint32
	last       uint64
	stored     [][]wire.Message // by partition, the trimmed ones left out
	held       int
	capacity   int
	seen       map[string]*transaction // by message id, within the duplicate window
	grown      chan struct{}           // closed, and made anew, when something was stored
	gone       bool                    // the stream was deleted

	// archive is all that was ever logged, by partition: nothing is trimmed here.
	archive [][]*transaction
	trimmed []uint64    // by partition: the highest sequence that was trimmed,
	oldest  []time.Time // and up to when all was
}

var errFull = errors.New("maximum messages exceeded")

const duplicateWindow = 2 * time.Minute

func newLog(partitions, capacity int, generation uint32) *log {
	return &log{
		made: time.Now().UTC().Truncate(time.Microsecond), generation: generation, capacity: capacity, seen: map[string]*transaction{}, grown: make(chan struct{}),
		stored: make([][]wire.Message, partitions), archive: make([][]*transaction, partitions), trimmed: make([]uint64, partitions), oldest: make([]time.Time, partitions),
	}
}

// append stores t, all of it or nothing, and returns its sequence. A message id that it has seen is acknowledged and not stored again.
func (l *log) append(t *transaction) (uint64, error) {
	if old := l.seen[t.id]; old != nil && time.Since(old.logged) < duplicateWindow {
		return old.last, nil
	}
	if l.held+len(t.bodies) > l.capacity {
		return 0, errFull // the newest is refused: what is there stays
	}
	t.generation, t.first, t.logged = l.generation, l.last+1, time.Now().UTC()
	for _, m := range t.bodies {
		l.last++
		m.Sequence, m.Logged = l.last, t.logged
		l.stored[t.partition] = append(l.stored[t.partition], m)
	}
	t.last = l.last
	l.held += len(t.bodies)
	l.seen[t.id] = t
	l.archive[t.partition] = append(l.archive[t.partition], t)
	close(l.grown)
	l.grown = make(chan struct{})
	return t.last, nil
}

// trim removes what is at or below position and was logged before the time before, whole transactions.
func (l *log) trim(partition int, position uint64, before time.Time) {
	keep := position + 1
	for _, t := range l.archive[partition] {
		if !t.logged.Before(before) {
			keep = min(keep, t.first)
			break
		}
	}
	n := 0
	for n < len(l.stored[partition]) && l.stored[partition][n].Sequence < keep {
		l.trimmed[partition] = l.stored[partition][n].Sequence
		l.oldest[partition] = l.stored[partition][n].Logged
		n++
	}
	l.held -= n
	l.stored[partition] = l.stored[partition][n:]
}

// from is what is stored of partition, or of all, from the sequence from on.
func (l *log) from(partition int, from uint64) []wire.Message {
	if partition == all {
		var rest []wire.Message
		for p := range l.stored {
			rest = append(rest, l.from(p, from)...)
		}
		slices.SortFunc(rest, func(a, b wire.Message) int { return cmp.Compare(a.Sequence, b.Sequence) })
		return rest
	}
	messages := l.stored[partition]
	n, _ := slices.BinarySearchFunc(messages, from, func(m wire.Message, seq uint64) int {
		switch {
		case m.Sequence < seq:
			return -1
		case m.Sequence > seq:
			return 1
		}
		return 0
	})
	return messages[n:]
}

// between are the transactions of partition with sequences above after and up to last.
func (l *log) between(partition int, after, last uint64) (all []*transaction) {
	for _, t := range l.archive[partition] {
		if t.last > after && t.last <= last {
			all = append(all, t)
		}
	}
	return all
}

// end is the sequence of the partition's last transaction.
func (l *log) end(partition int) uint64 {
	if n := len(l.archive[partition]); n > 0 {
		return l.archive[partition][n-1].last
	}
	return 0
}
