package chaos

import (
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

// Probes are writes that were made, one after the other in each partition, to see when it works again. Its methods may be called
// concurrently.
type Probes struct {
	mu         sync.Mutex // guards partitions
	partitions [][]probe
}

type probe struct{ begun, done time.Time }

// NewProbes is for so many partitions.
func NewProbes(partitions int) *Probes { return &Probes{partitions: make([][]probe, partitions)} }

// Add notes that a write to a partition that was begun at begun was committed at done.
func (p *Probes) Add(partition int, begun, done time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.partitions[partition] = append(p.partitions[partition], probe{begun, done})
}

// Recovered is how long after a moment each partition had committed something that was begun after it; ok is false when one has not.
// Faults that follow count in: it is what a caller would have waited.
func (p *Probes) Recovered(after time.Time) (each []time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ok = true
	for _, probes := range p.partitions {
		i := sort.Search(len(probes), func(i int) bool { return !probes[i].begun.Before(after) })
		if i == len(probes) {
			ok = false
			continue
		}
		each = append(each, probes[i].done.Sub(after))
	}
	return each, ok
}

// Quantile is the smallest of d that is not exceeded by the part q, from 0 to 1, of them; of none it is 0.
func Quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(len(sorted)-1, max(0, int(math.Ceil(q*float64(len(sorted))))-1))]
}
