package partition_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // where synctest's clock starts

const lease = 10 * time.Second

// world is a database and a log in memory that several replicas share. The database's clock is the test's, virtual one.
type world struct {
	mu     sync.Mutex
	rows   []row
	events [][]wire.Event  // by partition
	last   uint64          // the stream's sequence
	grown  []chan struct{} // by partition: closed, and made anew, when it grows
	trims  []trim
	stale  []uint64       // sequences of events that the database's state forbids
	graves map[uint64]int // how often a letter of each event was put
	// present are the replicas that say that they share in the partitions, and until when they count as there.
	present map[string]time.Time
	told    []func() // what wakes the sets that hear hints, of all replicas
	silent  bool     // hints are lost
}

// row is a partition's row, with the rows that were written in the same transactions.
type row struct {
	owner    string
	epoch    uint64
	position uint64
	until    time.Time
	applied  []uint64
	writers  []string // who applied each of them

	free    time.Time     // since when nobody owns it; a crash does not count
	longest time.Duration // that it was free, between two owners
}

type trim struct {
	at        time.Duration
	partition int
	position  uint64
	window    time.Duration // how long before now
}

func newWorld(partitions int) *world {
	w := &world{rows: make([]row, partitions), events: make([][]wire.Event, partitions), graves: map[uint64]int{}, present: map[string]time.Time{}}
	for range partitions {
		w.grown = append(w.grown, make(chan struct{}))
	}
	return w
}

// publish appends n events to a partition.
func (w *world) publish(p, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range n {
		w.last++
		w.events[p] = append(w.events[p], wire.Event{
			Message: wire.Message{Sequence: w.last, Logged: time.Now()}, Partition: p, RunID: "run", Size: 488, // a KiB with the queue's overhead
			Ops: []wire.Op{{Type: wire.OpStep, Step: int32(w.last), State: []byte("{}")}},
		})
	}
	close(w.grown[p])
	w.grown[p] = make(chan struct{})
}

// row is a copy of a partition's row.
func (w *world) row(p int) row {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.rows[p]
	r.applied, r.writers = slices.Clone(r.applied), slices.Clone(r.writers)
	return r
}

// take makes somebody else the owner, as a replica that found the lease run out does.
func (w *world) take(p int, owner string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.rows[p]
	r.owner, r.epoch, r.until = owner, r.epoch+1, time.Now().Add(d)
}

// restore is a backup of the database played back: what was applied above position is gone. Leases stay, the worst case.
func (w *world) restore(p int, position uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.rows[p]
	n, _ := slices.BinarySearch(r.applied, position+1)
	r.position, r.applied, r.writers = position, r.applied[:n], r.writers[:n]
}

func sequences(from, to uint64) []uint64 {
	var seqs []uint64
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	return seqs
}

// end is the sequence of the last event.
func (w *world) end() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *world) trimmed() []trim {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.trims)
}

// log is a partition's events.
func (w *world) log(p int) []wire.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events[p])
}

// hears makes s hear the hints of all replicas, its own included.
func (w *world) hears(s *partition.Set) *partition.Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, s.Wake)
	return s
}
