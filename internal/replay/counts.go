package replay

import (
	"hash/maphash"
	"sync"

	"github.com/persistd/persistd/internal/wire"
)

// Counts are what a replay did, or would do.
type Counts struct {
	// Events were to be applied, with Ops by their type, of Runs different runs.
	Events int64            `json:"events"`
	Ops    map[string]int64 `json:"ops"`
	Runs   int64            `json:"runs"`
	// Applied and the four after it are as in [Outcomes].
	Applied    int64 `json:"applied"`
	Same       int64 `json:"same"`
	Duplicates int64 `json:"duplicates"`
	Deleted    int64 `json:"deleted"`
	Untold     int64 `json:"untold"`
	// Refused events the target does not take, or nobody could; Letters have a dead letter; PassedOver are of runs that were not asked for.
	Refused    int64 `json:"refused"`
	Letters    int64 `json:"dead_letters"`
	PassedOver int64 `json:"passed_over"`
	// Unfinished is how many partitions end within a transaction.
	Unfinished int64 `json:"unfinished"`
}

// counter counts, from several goroutines.
type counter struct {
	seed maphash.Seed

	mu    sync.Mutex // guards what follows
	total Counts
	runs  map[uint64]struct{} // hashes of their ids: eight bytes a run, however long those are
}

func newCounter() *counter {
	return &counter{seed: maphash.MakeSeed(), total: Counts{Ops: map[string]int64{}}, runs: map[uint64]struct{}{}}
}

// event counts one that is to be applied.
func (c *counter) event(ev *wire.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total.Events++
	for i := range ev.Ops {
		c.total.Ops[ev.Ops[i].Type.String()]++
	}
	if ev.RunID != "" {
		c.runs[maphash.String(c.seed, ev.RunID)] = struct{}{}
	}
}

func (c *counter) add(n *int64, by int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n += by
}

func (c *counter) outcomes(o Outcomes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.total
	t.Applied += int64(o.Applied)
	t.Same += int64(o.Same)
	t.Duplicates += int64(o.Duplicates)
	t.Deleted += int64(o.Deleted)
	t.Untold += int64(o.Untold)
}

func (c *counter) counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.total
	out.Runs = int64(len(c.runs))
	return out
}
