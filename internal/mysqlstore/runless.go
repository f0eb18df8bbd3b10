package mysqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/persistd/persistd/internal/batcher"
)

// runless remembers, for each partition, whether persistd_runs has no row that matters to it: then a commit looks for none. It is asked
// for at the beginning of each term; from then on only the term's own commits can make rows of the partition's runs (I3), and what is beside the
// daemon, a replay say: so no answer that there is none is believed for long. What is remembered holds for the batch that follows the last commit,
// and for no other: a database that was restored is asked again.
type runless struct {
	mu    sync.Mutex // guards what follows
	known map[int]knownRuns
	asked map[int]time.Time // when the database was asked last
}

type knownRuns struct {
	generation      uint32
	epoch, position uint64
	none            bool
}

// runlessFor is how long is believed that there are none.
const runlessFor = time.Second

// none is, of each batch, whether no run of its partition has a row.
func (m *runless) none(ctx context.Context, conn *sql.Conn, r *registration, batches ...*batcher.Batch) (none []bool, err error) {
	none = make([]bool, len(batches))
	var unknown []int
	m.mu.Lock()
	for i, b := range batches {
		k, ok := m.known[b.Partition]
		fresh := !k.none || time.Since(m.asked[b.Partition]) < runlessFor
		none[i] = k.none
		if !ok || !fresh || k.generation != r.generation || k.epoch != b.Epoch || k.position != b.After {
			unknown = append(unknown, i)
		}
	}
	m.mu.Unlock()
	if len(unknown) == 0 {
		return none, nil
	}
	asked := time.Now()
	var some bool
	if err := conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM persistd_runs)").Scan(&some); err != nil {
		return nil, fmt.Errorf("ask whether there are runs with attempts: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked == nil {
		m.asked, m.known = map[int]time.Time{}, map[int]knownRuns{}
	}
	for _, i := range unknown {
		b := batches[i]
		none[i] = !some
		// At once, not when b is committed: what it is refused for together with others, it has to be refused for alone.
		m.known[b.Partition], m.asked[b.Partition] = knownRuns{r.generation, b.Epoch, b.After, !some}, asked
	}
	return none, nil
}

// committed remembers what is known once b is committed.
func (m *runless) committed(r *registration, b *batcher.Batch, none bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known[b.Partition] = knownRuns{r.generation, b.Epoch, b.Last(), none}
}
