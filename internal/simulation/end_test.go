package simulation

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// remake deletes the stream, of which all is committed, and makes it again. The processes end, those that read by themselves and the others
// because they look at it now and then, and are started on the new one; its events are newer than all rows.
func (w *world) remake() {
	w.mu.Lock()
	w.check("before the stream is made again")
	w.counts.remade++
	w.reads, w.told, w.acked = nil, nil, map[key]uint64{}
	w.log.gone = true
	w.mu.Unlock()
	d := newDice(w.seed, "remake")
	wait(d.between(0, 3*lease))
	w.mu.Lock()
	w.former = append(w.former, w.log)
	w.log = newLog(w.plan.partitions, 1000, w.log.generation+1)
	w.settled, w.reached = 0, make([]uint64, w.plan.partitions)
	w.mu.Unlock()
	var busy sync.WaitGroup
	for i := range w.plan.workers {
		v := &worker{w: w, no: i, name: fmt.Sprint("worker-again-", i), chains: map[string]*linked{}}
		v.d = w.diceOf(v.name)
		busy.Go(v.work)
	}
	for _, s := range w.slots {
		p := w.processOf(s)
		looks := d.between(lease, 4*lease)
		w.takenDown.Go(func() {
			p.sleep(context.Background(), looks)
			w.terminate(p, lease)
		})
	}
	anew := func() bool {
		for _, s := range w.slots {
			if !s.current.made.Equal(w.log.made) {
				return false
			}
		}
		return true
	}
	if !w.within(20*lease, anew) {
		w.mu.Lock()
		w.violate("not all replicas work on the stream that was made again")
		w.mu.Unlock()
	}
	busy.Wait()
	w.heal()
}

// askAll asks all replicas for everything.
func (w *world) askAll() {
	for _, s := range w.slots {
		p := w.processOf(s)
		for _, r := range w.runs {
			w.ask("in the end", p, key{wire.KindRun, r.id})
			w.ask("in the end", p, key{kindSteps, r.id})
		}
		w.ask("in the end", p, key{wire.KindCheckpoint, "c0"})
	}
}

// handOver waits until the partitions are spread, and stops one replica after the other: whoever is left takes what it had.
func (w *world) handOver() {
	wait(settling)
	w.mu.Lock()
	w.stragglers = 0
	w.mu.Unlock()
	if !w.within(spreadWithin, w.spread) {
		w.mu.Lock()
		w.violate("the partitions are not spread evenly: %v", w.owners())
		w.mu.Unlock()
	}
	for i, s := range w.slots {
		p := w.processOf(s)
		if err := p.terminate(lease); err != nil {
			w.mu.Lock()
			w.violate("%s did not end in time, with nothing to do: %s", p.life, err)
			w.mu.Unlock()
		}
		taken := func() bool {
			// What an end cut short may still come, an acquisition or a sign of life: then the partition waits for the lease.
			return w.owned(s.name) == 0 && (w.owned("") == 0 || i == len(w.slots)-1) || w.stragglers > 0
		}
		if !w.within(handedOverWithin, taken) {
			w.mu.Lock()
			w.violate("%s ended some time ago, and the partitions are owned by %q: %v; %s", p.life, w.owners(), w.db.replicas, w.status(w.plan.partitions-1))
			w.mu.Unlock()
		}
	}
}

// settling is how long it takes until calls that were late have come, and what they did, a lease taken by a process that is no more, is over.
const settling = 5 * lease

// spreadWithin is how long it may take until the partitions are spread, after the last fault: replicas that took what others were unable to
// take keep it for a time that grows.
const spreadWithin = 150 * lease

// handedOverWithin is how long it may take until somebody else has what a replica released: at once, but for those who failed to read it
// before, and leave it to others for a lease.
const handedOverWithin = 2 * lease

// within waits until ok, which is asked with the world in hand.
func (w *world) within(limit time.Duration, ok func() bool) bool {
	for began := time.Now(); ; wait(lease / 20) {
		w.mu.Lock()
		done := ok()
		w.mu.Unlock()
		if done || time.Since(began) > limit {
			return done
		}
	}
}

func (w *world) owners() (all []string) {
	for _, row := range w.db.partitions[w.log.made] {
		all = append(all, row.owner)
	}
	return all
}

func (w *world) owned(by string) (n int) {
	for _, owner := range w.owners() {
		if owner == by {
			n++
		}
	}
	return n
}

// spread says whether every replica has its share.
func (w *world) spread() bool {
	for _, s := range w.slots {
		n := w.owned(s.name)
		if n < w.plan.partitions/len(w.slots) || n > (w.plan.partitions+len(w.slots)-1)/len(w.slots) {
			return false
		}
	}
	return true
}
