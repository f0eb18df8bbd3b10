package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

// State is what the clients of a workload save.
type State struct {
	Value int64 `json:"value"`
}

// Workload is many clients that save and load few runs and checkpoints, and record it. The fields are set before Run.
type Workload struct {
	// Open opens the store of a client, which closes it.
	Open func(ctx context.Context, client int) (client.Store[State], error)
	// History is where it is recorded.
	History *History
	// Clients is how many there are, Keys how many runs they meet at, each with a named and a V2 checkpoint.
	Clients, Keys int
	// Seed draws what each client does next.
	Seed uint64
	// Calls is after how many it ends; zero is when ctx ends.
	Calls int64
	// Each, unless nil, is told the number of a call before it is made. It must not block.
	Each func(n int64)
	// Committed, unless nil, is asked about each step whose save was acknowledged as committed; its error ends the workload.
	Committed func(run string, step int) error
	// Outages says that what a client needs may be away: then calls may fail, but must say so.
	Outages bool
	// Impatient is that one call of so many is given only up to a second; zero is none.
	Impatient int
	// Renew is after how many calls on a key the clients go on with a new one, as they do after six of unknown outcome: the check's search
	// stays short. Zero is never.
	Renew int64

	// Counts is what was done.
	Counts Counts

	calls, values atomic.Int64

	mu    sync.Mutex // guards slots, not what they point to
	slots []*slot
}

// Counts are calls, by what they were.
type Counts struct {
	Loads, Saves, Checkpoints, CheckpointsV2, Transactions atomic.Int64
	// Found are loads of checkpoints that were there; Committed are saves that were acknowledged as committed; Unknown are those of unknown
	// outcome; Repeated are attempts of one that was repeated under its idempotency key; Failed are calls that an outage ended.
	Found, Committed, Unknown, Repeated, Failed atomic.Int64
}

// slot is a run, and the checkpoints that go with it.
type slot struct {
	run, named, v2          string
	generation              int
	calls, unknown, highest atomic.Int64
}

func newSlot(no, generation int) *slot {
	name := fmt.Sprintf("%d.%d", no, generation)
	return &slot{run: "run-" + name, named: "checkpoint-" + name, v2: "v2-" + name, generation: generation}
}

// Run has the clients work, and returns the first error that is none of those that the workload expects.
func (w *Workload) Run(ctx context.Context) error {
	for no := range w.Keys {
		w.slots = append(w.slots, newSlot(no, 0))
	}
	var all errgroup.Group
	for id := range w.Clients {
		all.Go(func() error {
			if err := w.client(ctx, id); err != nil {
				return fmt.Errorf("client %d: %w", id, err)
			}
			return nil
		})
	}
	return all.Wait() //nolint:wrapcheck // wrapped above.
}

// slot is where a call on the no-th key goes.
func (w *Workload) slot(no int) *slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.slots[no]
	if n := s.calls.Add(1); w.Renew > 0 && (n > w.Renew || s.unknown.Load() >= 6) {
		s = newSlot(no, s.generation+1)
		w.slots[no] = s
	}
	return s
}

func (w *Workload) client(ctx context.Context, id int) error {
	st, err := w.Open(ctx, id)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	c := &worker{Workload: w, st: st, id: id, draw: rand.New(rand.NewPCG(w.Seed, uint64(id)))} //nolint:gosec // G115: small.
	for ctx.Err() == nil {
		n := w.calls.Add(1)
		if w.Calls > 0 && n > w.Calls {
			break
		}
		if w.Each != nil {
			w.Each(n)
		}
		// A call that was begun is seen to its end: its outcome is part of the history.
		if err := c.once(context.WithoutCancel(ctx)); err != nil {
			return errors.Join(err, st.Close())
		}
	}
	if err := st.Close(); err != nil && !w.Outages {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

// worker is a client at work.
type worker struct {
	*Workload
	st   client.Store[State]
	id   int
	draw *rand.Rand
}

// once makes one call.
func (c *worker) once(ctx context.Context) error {
	if c.Impatient > 0 && c.draw.IntN(c.Impatient) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond+time.Duration(c.draw.Int64N(int64(time.Second))))
		defer cancel()
	}
	s := c.slot(c.draw.IntN(c.Keys))
	switch {
	case c.draw.IntN(4) == 0:
		return c.checkpoint(ctx, s)
	case c.draw.IntN(2) == 0:
		c.Counts.Loads.Add(1)
		return c.loaded(Call{Key: s.run}, func() (Held, error) {
			got, step, err := c.st.LoadLatest(ctx, s.run)
			return Held{step, got.Value}, err
		})
	default:
		return c.save(ctx, s)
	}
}

// save saves a new step of the run, the highest one again, or a lower one again.
func (c *worker) save(ctx context.Context, s *slot) error {
	c.Counts.Saves.Add(1)
	call := Call{Key: s.run, Save: true, Held: Held{Value: c.values.Add(1)}}
	kind := c.draw.IntN(10)
	switch {
	case kind < 4:
		call.Step = int(s.highest.Add(1))
	case kind < 7:
		call.Step = int(max(1, s.highest.Load()))
	default:
		call.Step = int(max(1, s.highest.Load()-1-c.draw.Int64N(20)))
	}
	durable := kind == 0 && c.draw.IntN(4) == 0 // a new step, whose row nobody else has written
	if durable {
		ctx = client.ContextWithDurability(ctx, client.Committed)
	}
	known, err := c.saved(s, func() error { return c.st.SaveStep(ctx, call.Key, call.Step, "node", State{call.Value}) }, call)
	if err != nil || !known || !durable {
		return err
	}
	c.Counts.Committed.Add(1)
	if c.Committed == nil {
		return nil
	}
	return c.Committed(call.Key, call.Step)
}

// loaded makes a load and records it.
func (c *worker) loaded(call Call, load func() (Held, error)) error {
	began := c.History.Now()
	got, err := load()
	switch {
	case errors.Is(err, client.ErrNotFound):
		got = Held{}
	case err != nil && c.outage(err):
		return nil
	case err != nil:
		return err
	case call.Register:
		c.Counts.Found.Add(1)
	}
	c.History.Add(c.id, call, began, got, true)
	return nil
}

// saved makes a save of everything that calls say, at one moment, and records it. It reports whether the save is known to have happened.
func (c *worker) saved(s *slot, save func() error, calls ...Call) (known bool, err error) {
	began := c.History.Now()
	err = save()
	switch {
	case err == nil:
	case Unknown(err):
		c.Counts.Unknown.Add(1)
		s.unknown.Add(1)
	case c.outage(err):
		return false, nil // it says that nothing of it is there, and never will be
	default:
		return false, err
	}
	for _, call := range calls {
		c.History.Add(c.id, call, began, Held{}, err == nil)
	}
	return err == nil, nil
}

// Unknown is whether err leaves open whether a save took effect, or when.
func Unknown(err error) bool {
	return errors.Is(err, client.ErrOutcomeUnknown) || errors.Is(err, client.ErrNotCommitted)
}

// outage is whether a call may fail with err because what it needs is away.
func (c *worker) outage(err error) bool {
	away := c.Outages && (errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrBackpressure) || errors.Is(err, context.DeadlineExceeded))
	if away {
		c.Counts.Failed.Add(1)
	}
	return away
}
