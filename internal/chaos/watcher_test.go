package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// saved is a state as the workers save it: the agent's, and whose it is.
type saved struct {
	Owner string          `json:"owner"`
	Unit  int             `json:"unit"`
	Part  int             `json:"part"`
	State json.RawMessage `json:"state"`
}

// board is what runs are being written, for those who read.
type board struct {
	mu   sync.Mutex // guards runs and wrong
	runs []*run
	// wrong is what readers saw that must not be.
	wrong []error

	reads, failed, empty atomic.Int64
}

// run is one that a worker writes.
type run struct {
	id string
	// acked is the number of the last acknowledged unit that LoadLatest must show, or a later one.
	acked atomic.Int64
}

// maxActive is how many runs are read: those begun last.
const maxActive = 30

func (b *board) add(r *run) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.runs = append(b.runs, r); len(b.runs) > maxActive {
		b.runs = b.runs[1:]
	}
}

func (b *board) pick(draw *rand.Rand) *run {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.runs) == 0 {
		return nil
	}
	return b.runs[draw.IntN(len(b.runs))]
}

func (b *board) violated(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrong = append(b.wrong, fmt.Errorf(time.Now().Format("15:04:05.000 ")+format, args...))
}

func (b *board) violations() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return errors.Join(b.wrong[:min(len(b.wrong), maxExamples)]...)
}

// latest loads a run's latest step and requires it to be no older than what was acknowledged before, nor than what this reader saw before;
// it returns the unit that it is of, 0 for none. A read that failed is counted, and not ok.
func (b *board) latest(ctx context.Context, st client.Store[json.RawMessage], r *run, before int64) (unit int64, step int, ok bool) {
	floor := max(before, r.acked.Load())
	raw, step, err := st.LoadLatest(ctx, r.id)
	switch {
	case errors.Is(err, client.ErrNotFound):
		if floor > 0 {
			b.violated("%s is not found, and unit %d of it was there before", r.id, floor)
		}
		b.empty.Add(1)
		return 0, 0, true
	case err != nil:
		b.failed.Add(1)
		return 0, 0, false
	}
	b.reads.Add(1)
	var s saved
	switch err := json.Unmarshal(raw, &s); {
	case err != nil || s.Owner != r.id:
		b.violated("%s shows what is not its own: %q %w", r.id, s.Owner, err)
	case int64(s.Unit) < floor:
		b.violated("%s shows unit %d, and unit %d was there before", r.id, s.Unit, floor)
	}
	return int64(s.Unit), step, true
}

// reader reads runs until ctx ends, whichever replica answers.
func (b *board) reader(ctx context.Context, url string, seed uint64) error {
	st, err := openPatiently(ctx, url)
	if err != nil || st == nil {
		return err
	}
	draw := rand.New(rand.NewPCG(seed, 99))
	seen := map[*run]int64{}
	for ctx.Err() == nil {
		if r := b.pick(draw); r != nil {
			read, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			unit, _, _ := b.latest(read, st, r, seen[r])
			cancel()
			seen[r] = max(seen[r], unit)
		}
		if !pause(ctx, time.Duration(draw.Int64N(int64(20*time.Millisecond)))) {
			break
		}
	}
	_ = st.Close()
	return nil
}

// openPatiently opens a store as soon as the log can be reached; it returns nil when ctx ended before.
func openPatiently(ctx context.Context, url string, opts ...client.Option) (client.Store[json.RawMessage], error) {
	for {
		st, err := client.Open[json.RawMessage](context.WithoutCancel(ctx), url,
			append([]client.Option{client.WithAttemptTimeout(attemptTimeout)}, opts...)...)
		if err == nil || !errors.Is(err, client.ErrUnavailable) {
			return st, err
		}
		if !pause(ctx, 50*time.Millisecond) {
			return nil, nil //nolint:nilnil // documented.
		}
	}
}

// attemptTimeout is how long a client waits for one answer before it asks again.
const attemptTimeout = 700 * time.Millisecond

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
