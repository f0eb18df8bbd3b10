package simulation

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// dice are what one kind of decision of one actor is drawn from. Each has its own, named ones, so that what is drawn for it depends on the
// seed and on how often it was asked, and not on what others do meanwhile.
type dice struct {
	mu sync.Mutex
	r  *rand.Rand
}

func newDice(seed uint64, name ...any) *dice {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, name...)
	return &dice{r: rand.New(rand.NewPCG(seed, h.Sum64()))}
}

// n is from 0 to below n.
func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.IntN(n)
}

func (d *dice) chance(p float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.r.Float64() < p
}

// between is a time, exact to the nanosecond: hardly ever do two things happen at once.
func (d *dice) between(from, to time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return from + time.Duration(d.r.Int64N(int64(to-from)))
}

func pick[T any](d *dice, of []T) T { return of[d.n(len(of))] }
