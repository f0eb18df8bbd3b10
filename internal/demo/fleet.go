package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/pkg/client"
)

// fleet is the workers: each a client with a connection of its own, as a process of its own would have.
type fleet struct {
	url     string
	workers int
	seed    uint64
	think   time.Duration // the longest pause between two steps of a run
	runs    Runs
	ledger  *Ledger
}

// saveDeadline bounds one save or load: longer than anything that is killed takes to come back.
const saveDeadline = 60 * time.Second

// run lets the workers work until ctx ends; each finishes the step that it is at.
func (f *fleet) run(ctx context.Context) error {
	var g errgroup.Group
	for w := range f.workers {
		g.Go(func() error {
			st, err := client.Open[json.RawMessage](context.WithoutCancel(ctx), f.url)
			if err != nil {
				return fmt.Errorf("open worker %d: %w", w, err)
			}
			f.work(ctx, w, st)
			if err := st.Close(); err != nil {
				return fmt.Errorf("close worker %d: %w", w, err)
			}
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // wrapped above.
}

// work saves one run after the other. In the middle of every other run the worker forgets what it did and resumes, as one that was
// killed would: with LoadLatest.
func (f *fleet) work(ctx context.Context, worker int, st client.Store[json.RawMessage]) {
	rng := rand.New(rand.NewPCG(f.seed, uint64(worker))) //nolint:gosec // G404: not a secret, and reproducible.
	for n := 0; ctx.Err() == nil; n++ {
		run := fmt.Sprintf("demo/%03d/%d", worker, n)
		steps := f.runs(rng)
		resume := -1
		if n%2 == 0 {
			resume = rng.IntN(len(steps))
		}
		for i, s := range steps {
			if ctx.Err() != nil || !f.save(ctx, st, run, s) {
				break // as the engine would: a run that could not save its step goes no further
			}
			if i == resume {
				f.resume(ctx, st, run, s.Step)
			}
			select {
			case <-time.After(time.Duration(rng.Int64N(int64(f.think) + 1))):
			case <-ctx.Done():
			}
		}
	}
}

func (f *fleet) save(ctx context.Context, st client.Store[json.RawMessage], run string, s Step) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveDeadline)
	defer cancel()
	f.ledger.tried(run, s.Step, s.State)
	if err := st.SaveStep(ctx, run, s.Step, s.NodeID, s.State); err != nil {
		f.ledger.refused.Add(1)
		return false
	}
	f.ledger.saved(run, s.Step, len(s.State))
	return true
}

func (f *fleet) resume(ctx context.Context, st client.Store[json.RawMessage], run string, want int) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveDeadline)
	defer cancel()
	state, step, err := st.LoadLatest(ctx, run)
	switch {
	case errors.Is(err, client.ErrNotFound):
		f.ledger.read(run, want, 0, nil)
	case err == nil:
		f.ledger.read(run, want, step, state)
	default:
		f.ledger.refused.Add(1)
	}
}
