package simulation

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// simulate runs the schedule of seed and returns the world as it was in the end.
func simulate(t *testing.T, seed uint64, broken mutation) (w *world) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed, broken)
		w.run()
	})
	return w
}

// run is a schedule:
//
//	start the replicas
//	workers write, readers read, and the plan's faults and deeds happen       for a few leases
//	heal: no more faults, what is stopped goes on, what is dead is started
//	wait until every partition is at its end                                  (I1: or never)
//	make the stream anew, and write to that, and wait again                   (in some)
//	ask every replica for everything; hand everything over                    (I6)
//	hold the database, the dead letters and all answers against the log
func (w *world) run() {
	w.mu.Lock()
	for _, s := range w.slots {
		s.start()
	}
	w.backups = append(w.backups, w.db.clone())
	w.mu.Unlock()
	var busy sync.WaitGroup
	for i := range w.plan.workers {
		v := &worker{w: w, no: i, name: fmt.Sprint("worker-", i), chains: map[string]*linked{}}
		v.d = w.diceOf(v.name)
		busy.Go(v.work)
	}
	for i := range w.plan.readers {
		busy.Go(func() { w.readSome(fmt.Sprint("reader ", i)) })
	}
	w.act()
	busy.Wait()
	w.heal()
	settled := w.settle()
	if settled && w.plan.remade {
		w.askAll()
		w.remake()
		settled = w.settle()
	}
	if settled {
		w.askAll()
		w.handOver()
	}
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	for _, s := range w.slots {
		w.processOf(s).crash()
	}
	w.takenDown.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check("in the end")
	w.counts.schedules++
}

// wait lets so much of the virtual time pass.
func wait(d time.Duration) { <-time.After(d) }

// act does the plan's deeds.
func (w *world) act() {
	var terminated sync.WaitGroup
	defer terminated.Wait()
	for _, a := range w.plan.acts {
		wait(a.at - time.Since(w.began))
		w.mu.Lock()
		p := w.slots[a.replica].current
		if a.what != restore {
			w.deeds[a.what]++
		}
		w.mu.Unlock()
		switch a.what {
		case kill:
			p.crash()
		case killAll:
			for _, s := range w.slots {
				w.processOf(s).crash()
			}
		case sigstop:
			p.stop(a.duration)
		case sigterm:
			terminated.Go(func() { w.terminate(p, a.duration) })
		case backup:
			w.mu.Lock()
			w.backups = append(w.backups, w.db.clone())
			w.mu.Unlock()
		case restore:
			w.restore()
		}
	}
	wait(w.plan.duration - time.Since(w.began))
}

func (w *world) processOf(s *slot) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return s.current
}

func (w *world) terminate(p *process, patience time.Duration) {
	if p.dead() != nil {
		return
	}
	_ = p.terminate(patience) // what it did not get to is in the log
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revive(p)
}

// restoreSlack is how far within the replay window a backup must be: a trim that was under way may still come.
const restoreSlack = 2 * lease

// restore plays back a backup that the log still reaches back to: the last one that was made.
func (w *world) restore() {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.backups[len(w.backups)-1]
	rows := old.clone().partitions[w.log.made]
	for p := range w.log.archive {
		for _, t := range w.log.archive[p] {
			if t.last > rows[p].position && time.Since(t.logged) > w.plan.window-restoreSlack {
				return // some of it may be trimmed: a gap, and no fault of anybody here
			}
		}
	}
	w.compare("before the restore")
	w.db = old.clone()
	w.deeds[restore]++
	w.compare("after the restore")
}

// heal ends all faults, and publishes a last event to each partition: the beginning of a transaction may be waiting there.
func (w *world) heal() {
	w.healed.Store(true)
	for _, s := range w.slots {
		p := w.processOf(s)
		p.mu.Lock()
		continued := p.continued
		p.mu.Unlock()
		if continued != nil {
			<-continued
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.slots {
		if s.current.dead() != nil {
			s.start()
		}
	}
	w.log.capacity += 1000
	v := &worker{w: w, name: "closing", chains: map[string]*linked{}}
	for p := range w.plan.partitions {
		for i := 0; ; i++ {
			id := fmt.Sprint("closing-", i)
			if wire.Partition(wire.DefaultNamespace, id, w.plan.partitions) == p {
				_, _ = w.log.append(w.compose(v, key{wire.KindRun, id}, 0, []wire.Op{{Type: wire.OpStep, Step: 1, NodeID: "node", State: w.state()}}, 1))
				break
			}
		}
	}
}

// settle waits until all is committed.
func (w *world) settle() bool {
	for range 600 {
		wait(lease / 20)
		w.mu.Lock()
		done := true
		for p, row := range w.db.partitions[w.log.made] {
			done = done && row.position == w.log.end(p)
		}
		if done {
			w.settled = time.Since(w.began) - 1
		}
		w.mu.Unlock()
		if done {
			return true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violate("I1: nothing is wrong any more, and still the positions are %v", w.positions())
	for p := range w.log.archive {
		w.violate("partition %d ends at %d: %s", p, w.log.end(p), w.status(p))
	}
	return false
}

func (w *world) status(no int) (s string) {
	for _, slot := range w.slots {
		st := slot.current.set.Status()[no]
		s += fmt.Sprintf("%s: %s %v, %s %v; ", slot.current.life, st.State, st.Err, st.Phase.Name, st.Phase.Err)
	}
	return s
}

// check holds everything against the log. Guarded by mu.
func (w *world) check(when string) {
	w.compare(when)
	w.judge()
	w.letterless()
}

// letterless checks that nothing but poison has a dead letter, and that those who waited for a commit were told the truth.
func (w *world) letterless() {
	want := w.expected().rejected
	for at, why := range w.letters {
		if _, ok := want[at]; !ok {
			w.violate("I7: event %v has a dead letter (%s), and is applied", at, why.Code)
		}
	}
	for _, told := range w.told {
		w.counts.told++
		code, rejected := want[place{told.t.generation, told.t.last}]
		switch {
		case told.why == nil && rejected:
			w.violate("event %d was called committed, and is poison (%s)", told.t.last, code)
		case told.why != nil && !rejected:
			w.violate("event %d was called %s, and is applied", told.t.last, told.why.Code)
		case told.position < told.t.last:
			w.violate("event %d was called committed, and no position had passed it", told.t.last)
		}
	}
}
