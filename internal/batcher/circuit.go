package batcher

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/wire"
)

// CircuitConfig says when there is too much poison. The zero value of a field means its default.
type CircuitConfig struct {
	// Off lets all poison be kept as dead letters, however much it is.
	Off bool
	// Window is of how many of the last events the share counts. Default 4000: four full batches, so that no single one decides.
	Window int
	// Least is how many of them must be poison at least, however large their share is: an idle log that gets three bad events in a row is
	// not at fault. Default 100.
	Least int
	// Share is what part of them must be poison. Default 0.9; at most 1.
	Share float64
	// Probe is the pause between two letters that are written while there is too much poison. Default 30 s.
	Probe time.Duration
}

// WithDefaults returns c with every zero field set to its default.
func (c CircuitConfig) WithDefaults() CircuitConfig {
	setDefault(&c.Window, 4000)
	setDefault(&c.Least, 100)
	setDefault(&c.Share, 0.9)
	setDefault(&c.Probe, 30*time.Second)
	return c
}

// Validate reports everything that is wrong with c, which must have its defaults.
func (c CircuitConfig) Validate() error {
	var errs []error
	bad := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("circuit config %s: %s (got %v)", field, want, value))
		}
	}
	bad(c.Window > 0, "Window", c.Window, "must be positive")
	bad(c.Least > 0 && c.Least <= c.Window, "Least", c.Least, "must be positive, and at most Window")
	bad(c.Share > 0 && c.Share <= 1, "Share", c.Share, "must be above 0 and at most 1")
	bad(c.Probe > 0, "Probe", c.Probe, "must be positive")
	return errors.Join(errs...)
}

// Circuit stands before the dead letters. When nearly every event is poison, that is not the events' fault but an operator's: a daemon that is
// older than its clients, a schema that is not what it should be. Then it opens: no letters are written, partitions wait at their first
// poison, not ready, and somebody is told.
//
//	          Least of the last Window events are poison, and Share of them
//	closed ───────────────────────────────────────────────────────────────▶ open ──┐ a letter each Probe, and poison is tried again
//	   ▲                                                                     │  ▲    │ all the while
//	   └── what was refused is taken; or there is good among the poison; ◀──┘  └────┘
//	       or most of what commits elsewhere is good
//
// What commits is never held: open, a partition without poison goes on. That, and a look at what is queued behind the poison, are the
// probes that cost nothing; the letter each Probe is for a partition that is full of what no trying makes good, so that it moves at all.
//
// All batchers of a replica share one. What opens it is of the replica or of its database, which they share; a partition by itself, with one
// worker gone wrong in it, says little, and an idle one nothing. It is in memory: a daemon that is started again, of a newer version
// perhaps, begins closed.
//
// A nil Circuit is always closed. Its methods may be called concurrently.
type Circuit struct {
	cfg     CircuitConfig
	metrics *Metrics
	log     *zap.Logger

	mu        sync.Mutex // guards what follows; nothing blocks while it is held
	bad, good float64    // of the last Window events
	opened    time.Time  // zero while closed
	probed    time.Time
	why       wire.Poison // of the poison judged last
	probes    int         // letters written since it opened
}

// errHeld is that a partition waits at its poison because the circuit is open.
var errHeld = errors.New("nearly every event is poison: the partition waits at one, no dead letters are written")

// NewCircuit returns a closed circuit. cfg must be valid, and have its defaults.
func NewCircuit(cfg CircuitConfig, metrics *Metrics, log *zap.Logger) *Circuit {
	return &Circuit{cfg: cfg, metrics: metrics, log: log}
}

// Open is since when the circuit is open; the zero time when it is closed.
func (c *Circuit) Open() time.Time {
	if c == nil {
		return time.Time{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened
}

// passage is what becomes of poison.
type passage uint8

const (
	admitted passage = iota // its letters may be written
	probing                 // the first one's may
	held                    // none may
)

// enough good events beside poison show that it is not nearly everything.
const enough = 10

// admit judges poison, which stands among so many others that are good as far as is known.
func (c *Circuit) admit(poison []*wire.Event, others int) passage {
	n := judged(poison)
	if c == nil || c.cfg.Off || n == 0 {
		return admitted
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why = *poison[len(poison)-1].Poison
	if !c.opened.IsZero() {
		switch {
		case others >= enough && float64(n) < c.cfg.Share*float64(n+others):
			c.bad, c.good = float64(n), 0 // what was counted against it is in that number
			c.closeLocked("there are good events among the poison")
			return admitted
		case time.Since(c.probed) >= c.cfg.Probe:
			c.probed = time.Now()
			c.probes++
			return probing
		default:
			return held
		}
	}
	// Those beside it count when they are committed.
	if bad, good := c.slid(n, others); bad >= float64(c.cfg.Least) && bad >= c.cfg.Share*(bad+good) {
		c.bad, c.good = bad, good
		c.opened, c.probed, c.probes = time.Now(), time.Now(), 0
		c.metrics.circuitOpen.Set(1)
		c.metrics.circuitTrips.Inc()
		c.log.Error("nearly every event is poison: no more dead letters are written", zap.Int("poison", int(bad)), zap.Int("of", int(bad+good)),
			zap.String("code", c.why.Code), zap.String("reason", c.why.Reason), zap.Uint16("error_number", c.why.ErrorNumber), zap.String("hint", circuitHint))
		return held
	}
	c.bad, c.good = c.slid(n, 0)
	return admitted
}

// slid are the counts of the window with so many more events.
func (c *Circuit) slid(bad, good int) (allBad, allGood float64) {
	b, g, window := float64(bad), float64(good), float64(c.cfg.Window)
	if n := b + g; n > window {
		return b * window / n, g * window / n
	}
	keep := 1.0
	if old, room := c.bad+c.good, window-b-g; old > room {
		keep = room / old
	}
	return c.bad*keep + b, c.good*keep + g
}

// committed counts events that were taken. again says that they were refused before.
func (c *Circuit) committed(events int, again bool) {
	if c == nil || events == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad, c.good = c.slid(0, events)
	switch {
	case c.opened.IsZero():
	case again:
		c.bad, c.good = 0, float64(min(events, c.cfg.Window))
		c.closeLocked("what was refused is taken")
	case c.bad < c.good:
		c.closeLocked("most events are good")
	}
}

func (c *Circuit) closeLocked(why string) {
	c.log.Info("poison is kept as dead letters again", zap.String("why", why), zap.Duration("after", time.Since(c.opened)),
		zap.Int("letters_meanwhile", c.probes))
	c.opened = time.Time{}
	c.metrics.circuitOpen.Set(0)
}

const circuitHint = "see the reason: is this persistd older than its clients, or the schema another one? Mended, it goes on by itself; " +
	"poison.circuit=off keeps everything as dead letters"

// refusal is what a partition waits for.
func (c *Circuit) refusal() *Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &Error{
		Class: Operator, Number: c.why.ErrorNumber, Hint: circuitHint,
		Err: fmt.Errorf("%w: %s: %s", errHeld, c.why.Code, c.why.Reason),
	}
}

// judged is how many of the poison tell something of the replica. A write of a worker that was replaced is an everyday matter. The
// parts of one transaction, which are poison one by one when it is too large or torn, are one event.
func judged(poison []*wire.Event) (n int) {
	last := ""
	for _, ev := range poison {
		switch {
		case ev.Poison.Code == wire.CodeAttempt:
		case ev.Part.Transaction != "" && ev.Part.Transaction == last:
		default:
			n++
			last = ev.Part.Transaction
		}
	}
	return n
}
