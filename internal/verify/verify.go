package verify

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/wire"
)

// Window is what is compared of a partition: its events after a sequence, up to and with another. It is empty when Until is not above After.
type Window struct{ After, Until uint64 }

func (w Window) has(seq uint64) bool { return w.After < seq && seq <= w.Until }

// Config says what is compared, and how. The zero value of a field means its default.
type Config struct {
	// Windows are those of the partitions, by their numbers; required.
	Windows []Window
	// Namespace is that of the events; required.
	Namespace string
	// Runs are the only runs that are compared; none is all, and named checkpoints.
	Runs []string
	// Sample is the part of the runs, and of the named checkpoints that are saved by themselves, that is compared, above 0 and at most 1.
	// Default 1. Of a sample the tables are not looked through for rows that no event wrote.
	Sample float64
	// SkipExtra leaves out to look through the tables, which reads each of them once.
	SkipExtra bool
	// Foreign makes findings of rows that no log wrote: nobody but persistd writes here.
	Foreign bool
	// Numbers is how numbers in JSON compare: exactly where the database keeps the text.
	Numbers wire.Spelling
	// KeysKept and EventsKept are how old idempotency keys and emitted outbox events become. Default 0: for ever.
	KeysKept, EventsKept time.Duration
	// Pause is how long is waited before what looks wrong is looked at once more. Default 1 s; negative is none.
	Pause time.Duration
	// Parallel is how many partitions are compared at a time. Default 2.
	Parallel int
}

const (
	// A chunk of events is judged together: as many as fit, one at least.
	chunkEvents = 500
	chunkBytes  = 4 << 20
	// longestPauses is how many times is paused at most: where everything is wrong, waiting for all of it would take for ever.
	longestPauses = 20
)

// WithDefaults returns c with every zero field set to its default.
func (c Config) WithDefaults() Config {
	if c.Sample == 0 {
		c.Sample = 1
	}
	if c.Pause == 0 {
		c.Pause = time.Second
	}
	if c.Parallel == 0 {
		c.Parallel = 2
	}
	return c
}

// Counts is what was looked at, and what explains rows that are not as an event wrote them.
type Counts struct {
	// Events were compared, of all in the window, with Rows that are as their event says.
	Events int64 `json:"events"`
	Rows   int64 `json:"rows"`
	// Superseded rows have a later write, Deleted events are of a run that was deleted after them, Duplicates had a key that was used,
	// and Letters have a dead letter.
	Superseded int64 `json:"superseded"`
	Deleted    int64 `json:"deleted"`
	Duplicates int64 `json:"duplicates"`
	Letters    int64 `json:"dead_letters"`
	// Untold are events with keys of which the database does not say any more whether they applied.
	Untold int64 `json:"untold"`
	// Scanned rows were looked through for such as no event wrote; Foreign ones are of no log.
	Scanned int64 `json:"scanned"`
	Foreign int64 `json:"foreign"`
	// Findings are by kind.
	Findings map[Kind]int64 `json:"findings"`
}

// Clean reports whether there are no findings.
func (c *Counts) Clean() bool {
	for _, n := range c.Findings {
		if n > 0 {
			return false
		}
	}
	return true
}

// Deps are what is compared.
type Deps struct {
	Log      Log
	Letters  Letters
	Database Database
	// Found is called with each finding, from one goroutine at a time.
	Found func(Finding)
	// Seen, which may be nil, is told of every event that was compared or passed over. It is called concurrently.
	Seen func(events int)
}

// checker is one comparison at work.
type checker struct {
	cfg   Config
	deps  Deps
	books *ledger
	// widest spans the windows.
	widest Window
	runs   map[string]bool // the tokens of Config.Runs

	mu     sync.Mutex // guards what follows, and calls of Found
	counts Counts
	claims map[Key]Claim // rows with a later write that was not met yet; only where no table is looked through
	// reported are the findings that were reported.
	reported map[reported]bool
	pauses   int
}

// Compare compares log and database until all is compared, ctx ends, or something cannot be read: then nothing is known beyond what was found.
func Compare(ctx context.Context, cfg Config, deps Deps) (Counts, error) {
	c := &checker{
		cfg: cfg.WithDefaults(), deps: deps, runs: map[string]bool{}, counts: Counts{Findings: map[Kind]int64{}}, claims: map[Key]Claim{},
		reported: map[reported]bool{},
	}
	for _, run := range c.cfg.Runs {
		c.runs[wire.Token(run)] = true
	}
	if len(c.cfg.Runs) == 0 && c.cfg.Sample < 1 {
		c.cfg.SkipExtra = true
	}
	if !c.cfg.SkipExtra {
		c.books = newLedger()
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.cfg.Parallel)
	for _, w := range c.cfg.Windows {
		if w.Until <= w.After {
			continue
		}
		if c.widest.Until == 0 || w.After < c.widest.After {
			c.widest.After = w.After
		}
		c.widest.Until = max(c.widest.Until, w.Until)
	}
	for p, w := range c.cfg.Windows {
		if w.Until > w.After && c.hasPartition(p) {
			group.Go(func() error { return c.partition(gctx, p, w) })
		}
	}
	err := group.Wait()
	if err == nil && c.books != nil {
		err = c.scan(ctx)
	} else if err == nil {
		err = c.settleClaims(ctx)
	}
	return c.counts, err
}

// hasPartition reports whether partition p has something to be compared.
func (c *checker) hasPartition(p int) bool {
	if len(c.cfg.Runs) == 0 {
		return true
	}
	for _, run := range c.cfg.Runs {
		if wire.Partition(c.cfg.Namespace, run, len(c.cfg.Windows)) == p {
			return true
		}
	}
	return false
}
