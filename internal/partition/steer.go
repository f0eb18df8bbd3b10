package partition

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// Sharing is how the partitions are spread, as this replica last saw it.
type Sharing struct {
	// Seen is when that was; zero when the database was not reached yet.
	Seen time.Time
	// Replicas are those that share in the partitions, by name; this one is among them.
	Replicas map[string]Portion
	// Self is this replica's name; empty while Seen is zero.
	Self string
}

// Portion is a replica's part of the partitions.
type Portion struct {
	// Share is how many partitions it is to have, and Has how many it has.
	Share, Has int
}

// Sharing is how the partitions are spread, as this replica last saw it.
func (s *Set) Sharing() Sharing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sharing // its map is never modified
}

// Wake has the set look at once at who owns what, for something may have changed: another replica came, went, or released a partition. It
// does not block, and may be called at any time. Without it, changes are seen within lookEvery.
func (s *Set) Wake() {
	select {
	case s.woken <- struct{}{}:
	default: // it has not yet looked since the last time
	}
}

// lookEvery is how long a change is not seen that nobody tells of, at most; it is less with a short lease.
const lookEvery = 2 * time.Second

// orphaned is for how long a partition may be seen free, in parts of a lease, before this replica takes it whoever's share it is: the one
// that it falls to may be unable to read it.
const orphaned = 2

// steering is what the steering of a set remembers from look to look. One goroutine owns it.
type steering struct {
	reclaimable []bool      // a lease under our own name that was there before us is a dead predecessor's
	free        []time.Time // since when the partition has been seen free; zero when it is not
	// After orphans were taken in, nothing is handed over until then, for ever longer: who lacks them did not take them.
	keep, adopted time.Time
	patience      time.Duration
}

// steer looks at who owns what again and again, and has the workers acquire and hand over, until ctx ends.
func (s *Set) steer(ctx context.Context) {
	select {
	case <-s.joined:
	case <-ctx.Done():
		return
	}
	st := &steering{reclaimable: make([]bool, len(s.workers)), free: make([]time.Time, len(s.workers))}
	for p := range st.reclaimable {
		st.reclaimable[p] = true
	}
	away := s.cfg.pauses()
	for {
		next, err := s.step(ctx, st)
		if err != nil {
			next = away.NextBackOff()
			s.excuse(err)
		} else {
			away.Reset()
		}
		select {
		case <-time.After(next):
		case <-s.woken:
		case <-ctx.Done():
			return
		}
	}
}

// step is one look and what follows from it. It returns how long to wait before the next.
func (s *Set) step(ctx context.Context, st *steering) (time.Duration, error) {
	looking, cancel := context.WithTimeout(ctx, s.cfg.Lease/3)
	defer cancel()
	v, err := s.deps.Leases.Look(looking)
	if err != nil {
		return 0, fmt.Errorf("look at leases: %w", err)
	}
	v.Leases = append(v.Leases, make([]Lease, max(0, len(s.workers)-len(v.Leases)))...)[:len(s.workers)]
	mine := make([]activity, len(s.workers))
	for no, w := range s.workers {
		var held bool
		mine[no], held = w.about()
		st.see(no, v.Leases[no], held || v.Leases[no].Owner != v.Self)
	}
	p := planFor(v, mine, st.reclaimable)
	s.remember(v, p)
	s.explain(v, mine)
	for _, no := range p.reclaim {
		s.workers[no].take(true, false)
	}
	for _, no := range p.take {
		s.workers[no].take(false, false)
	}
	s.adopt(st, mine)
	if p.give > 0 && time.Now().After(st.keep) {
		s.give(p.give)
	}
	return s.until(v), nil
}

// see remembers what a look shows of a partition; settled is that a lease under our own name will not be a predecessor's any more.
func (st *steering) see(no int, lease Lease, settled bool) {
	switch {
	case !lease.free():
		st.free[no] = time.Time{}
	case st.free[no].IsZero():
		st.free[no] = time.Now()
	}
	if settled {
		st.reclaimable[no] = false
	}
}

// adopt takes what has been free for so long that whoever it falls to seems to be unable.
func (s *Set) adopt(st *steering, mine []activity) {
	some := false
	for no, since := range st.free {
		if mine[no] != idle || since.IsZero() || time.Since(since) < s.cfg.Lease/orphaned {
			continue
		}
		if s.workers[no].take(false, true) { // else it falls to this replica, and the worker was told already
			some = true
			s.deps.Logger.Info("partition is taken above the share: it was free, and the replica that it falls to did not take it", zap.Int("partition", no))
		}
	}
	if !some {
		return
	}
	if time.Since(st.adopted) > 2*st.patience {
		st.patience = 0
	}
	st.patience = min(max(s.cfg.Lease, 2*st.patience), 64*s.cfg.Lease)
	st.adopted, st.keep = time.Now(), time.Now().Add(st.patience)
}

// give hands n partitions over: those that were taken in as orphans last, and of the others those that are done soonest.
func (s *Set) give(n int) {
	for range n {
		var best *worker
		least := 0
		for _, w := range s.workers {
			if burden, ok := w.burden(); ok && (best == nil || burden <= least) {
				best, least = w, burden
			}
		}
		if best != nil {
			best.give()
		}
	}
}

// until is how long the next look can wait for: no lease of another ends and no replica is given up before, unless that is told.
func (s *Set) until(v View) time.Duration {
	next := s.poll()
	for name, left := range v.Replicas {
		if name != v.Self {
			next = min(next, left)
		}
	}
	for _, lease := range v.Leases {
		if lease.Owner != v.Self && !lease.free() {
			next = min(next, lease.Left)
		}
	}
	return max(next+time.Millisecond, s.cfg.Lease/100)
}

// poll is how often is looked, less a random part so that the replicas do not look all at once.
func (s *Set) poll() time.Duration {
	every := min(lookEvery, s.cfg.Lease/5)
	return every - time.Duration(s.cfg.Jitter*rand.Float64()*float64(every))
}

// remember keeps what p says for who asks.
func (s *Set) remember(v View, p plan) {
	sh := Sharing{Seen: time.Now(), Self: v.Self, Replicas: make(map[string]Portion, len(p.shares))}
	for name, n := range p.shares {
		sh.Replicas[name] = Portion{Share: n, Has: p.has[name]}
	}
	s.mu.Lock()
	s.sharing = sh
	s.mu.Unlock()
	s.metrics.share.Set(float64(p.shares[v.Self]))
	s.metrics.replicas.Set(float64(len(p.shares)))
}

// explain tells the workers that have nothing to do why.
func (s *Set) explain(v View, mine []activity) {
	for no, w := range s.workers {
		switch lease := v.Leases[no]; {
		case mine[no] != idle:
		case lease.free():
			w.excuse(nil)
		default:
			w.excuse(fmt.Errorf("%w: %q", ErrHeld, lease.Owner))
		}
	}
}

// excuse tells the workers that have nothing to do why: the database does not answer.
func (s *Set) excuse(err error) {
	for _, w := range s.workers {
		w.excuse(err)
	}
}

// pauses is a sequence of pauses that grow, without an end.
func (c Config) pauses() backoff.BackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(c.Lease/100), backoff.WithMaxInterval(min(lookEvery, c.Lease/5)),
		backoff.WithRandomizationFactor(c.Jitter), backoff.WithMaxElapsedTime(0))
}
