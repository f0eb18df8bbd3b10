package simulation

import (
	"slices"
	"time"

	"github.com/persistd/persistd/internal/ingest"
)

// plan is a schedule: what is drawn before it begins.
type plan struct {
	partitions, replicas, workers, writes, readers, readsEach int

	pause        time.Duration // the longest between two writes or reads of one worker
	duration     time.Duration // of the faults
	window       time.Duration // the replay window
	capacity     int           // of the log, in messages
	faulty, slow float64       // how likely a call fails, or is slow
	outages      []window
	acts         []act
	sharing      ingest.Sharing
	exaggerates  float64 // how likely a server says that more is behind than is
	remade       bool    // the stream is made again once all is committed
	places       int     // at the gate of each replica
	crowd        int     // how many writes of a worker come one right after the other; see busy
}

// busy is how much longer commits take where writes come in crowds, and to more partitions: so these wait for each other at the gate.
const busy = 60 * time.Millisecond

// act is what is done to the replicas, or to the database.
type act struct {
	at       time.Duration
	what     deed
	replica  int
	duration time.Duration
}

// deed is a kind of act.
type deed int

const (
	kill deed = iota
	killAll
	sigstop
	sigterm
	backup
	restore
	deeds
)

var deedNames = [deeds]string{"kill", "kill all", "stop and continue", "terminate", "back up", "restore"}

func drawPlan(seed uint64) plan {
	d := newDice(seed, "plan")
	p := plan{
		partitions: pick(d, []int{1, 2, 2, 4}), replicas: pick(d, []int{1, 2, 2, 3}), workers: 2 + d.n(2), writes: 3 + d.n(8),
		readers: 1 + d.n(2), readsEach: 4 + d.n(12),
		duration: d.between(lease, 5*lease), window: pick(d, []time.Duration{0, 3 * lease, time.Hour}),
		capacity: pick(d, []int{12, 1000, 1000}),
		faulty:   pick(d, []float64{0, 0.02, 0.1, 0.25}), slow: pick(d, []float64{0, 0.1, 0.4}),
		remade: d.chance(0.1), crowd: 1,
	}
	if seed%4 == 0 {
		p.partitions, p.crowd = 3*p.partitions, 4
	}
	for range d.n(7) {
		a := act{at: d.between(0, p.duration), what: pick(d, []deed{kill, kill, kill, killAll, sigstop, sigstop, sigterm}), replica: d.n(p.replicas)}
		a.duration = d.between(lease/10, pick(d, []time.Duration{lease, 3 * lease}))
		p.acts = append(p.acts, a)
	}
	for range d.n(4) {
		o := window{to: pick(d, []server{mysql, mysql, nats}), replica: d.n(p.replicas+1) - 1, from: d.between(0, p.duration)}
		o.duration = d.between(lease/20, pick(d, []time.Duration{lease / 2, 3 * lease}))
		o.readOnly = o.to == mysql && d.chance(0.3)
		p.outages = append(p.outages, o)
	}
	if p.window > 0 {
		for range d.n(3) {
			at := d.between(p.duration/4, p.duration)
			p.acts = append(p.acts, act{at: at - d.between(0, at), what: backup}, act{at: at, what: restore})
			if d.chance(0.5) { // and it stays away for a while, or takes nothing, so that nothing is committed anew
				p.outages = append(p.outages, window{to: mysql, replica: -1, readOnly: d.chance(0.6), from: at + lease/10, duration: d.between(lease, 5*lease)})
				p.duration = max(p.duration, at+d.between(lease, 5*lease))
			}
		}
	}
	// Drawn last, so that the rest is what it was before there was any of it.
	p.exaggerates = pick(d, []float64{0, 0.3, 0.9, 1})
	p.sharing = ingest.Sharing{
		Backlog: uint64(1 + d.n(8)), Apart: uint64(pick(d, []int{3, 1000, 1000, 1000})), Gather: d.between(lease/100, lease/2),
		Stall: d.between(lease/100, lease/2), Pause: d.between(lease/100, lease/4), MaxPause: lease,
	}
	p.places = 1 + d.n(3)
	p.pause = 2 * p.duration / time.Duration(p.writes)
	slices.SortFunc(p.acts, func(a, b act) int { return int(a.at - b.at) })
	return p
}

// before is the pause before a worker's n-th write.
func (p *plan) before(n int, d *dice) time.Duration {
	pause := d.between(0, p.pause)
	if n%p.crowd != 0 {
		return 0
	}
	return time.Duration(p.crowd) * pause
}

// again is how long it takes until a dead process is started anew.
func (p *plan) again(d *dice) time.Duration {
	return d.between(lease/100, pick(d, []time.Duration{lease / 4, 2 * lease}))
}
