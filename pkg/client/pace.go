package client

import "time"

// GroupPublish says whether writes that many callers make at the same time reach the log in groups; see [WithGroupPublish].
type GroupPublish uint8

const (
	// GroupAuto groups where that is faster, which the client finds out by itself.
	GroupAuto GroupPublish = iota
	// GroupAlways groups whatever is to be written while something is being written.
	GroupAlways
	// GroupNever publishes every write by itself.
	GroupNever
)

// pace is whether writes go in groups, so that a log that fsyncs each write does so once for many of them. A client is not told whether it
// does, and an atomic batch has a price: on a single server its messages are written twice, to files made for it. So the pace measures
// what a write takes either way while many are under way, and keeps to what takes less:
//
//	singly ──a write takes long, and many are under way──▶ compared ──groups lead──▶ grouped
//	   ▲                                                    │     ▲                    │
//	   └────────────────single writes lead──────────────────┘     └──after a minute────┘ or when groups take longer than single writes did
//
// Compared is by turns, a few groups and as many single writes, until one way has won three turns more than the other: a disk that others use as well
// stands still now and then, longer than all of a turn, and what a write took some time ago says little of what it takes now.
//
// Its methods take the time, and are called with publisher.mu held.
type pace struct {
	mode    GroupPublish
	grouped bool
	// most and least are how many writes a batch has: fewer than least are faster one by one.
	most, least int

	comparing bool
	kept      bool          // before the comparison, writes went in groups
	lead      int           // the turns that groups have won in it, less those they lost
	next      time.Time     // when the next comparison may begin; of groups, is due
	pause     time.Duration // until then, after the next comparison in which groups lose
	singly    time.Duration // what a write takes so, as measured last; 0 is not known
	batch     time.Duration // what a batch takes
	slow      int           // measurements, one after the other, by which a write took long

	// The measurement: of answers that came while many writes were under way.
	last    time.Time
	behind  bool // single writes are still under way, before the first batch
	elapsed time.Duration
	writes  int
	groups  int
	few     int // groups, one after the other, that were fewer than least, or, in a comparison, while too few were under way to go on with it
	refused int // batches, one after the other, that came to nothing
}

const (
	// manyWrites is from how many writes under way on the log is measured; with fewer it is the callers who are.
	manyWrites = 16
	// slowWrite is from when on a write takes so long that an fsync may be the reason. A log that does not fsync takes 10 to 40 µs, 130 where
	// clients, servers and daemon share two busy cores: there a batch is answered sooner and costs everybody more.
	slowWrite = 250 * time.Microsecond
	// aWindow is over how many writes, and groupsWindow over how many groups, is measured: answers come many at once.
	aWindow, groupsWindow = 128, 6
	// enough is by how many turns a comparison is decided, and after how many slow measurements it begins.
	enough = 3
	// mostLeast bounds least.
	mostLeast = 32
	// fewGroups is after how many groups of few, or refused batches, it is given up.
	fewGroups = 8
	// minPause doubles up to maxPause with every comparison that groups lose; stay is for how long grouping is kept that is faster, and minPause, though
	// it seems slower.
	minPause, maxPause = 5 * time.Second, 5 * time.Minute
	stay               = time.Minute
)

func newPace(mode GroupPublish) pace {
	return pace{mode: mode, grouped: mode == GroupAlways, most: maxGroup, least: 2, pause: minPause}
}

// single takes that a write by itself was logged, with busy under way.
func (p *pace) single(now time.Time, busy int) {
	if p.mode != GroupAuto || p.grouped {
		return
	}
	cost, ok := p.measure(now, 1, busy)
	if !ok {
		return
	}
	p.singly = cost
	switch {
	case p.comparing:
		p.turn(true, now)
	case cost < slowWrite:
		p.slow = 0
	case now.Before(p.next):
	default:
		if p.slow++; p.slow >= enough { // a disk that stands still once makes a log slow once
			p.compare(false)
			p.turn(true, now)
		}
	}
}

// group takes that a group of writes is over, in a batch or not, with busy under way.
func (p *pace) group(now time.Time, took time.Duration, writes, busy int, batch, logged bool) {
	if p.mode != GroupAuto || !p.grouped {
		return
	}
	if !logged {
		p.reset()
		if batch {
			p.refuse(now)
		}
		return
	}
	if batch {
		p.refused = 0
	}
	// Of few nothing is measured, so a comparison would never end; and while it lasts, two are as many as least.
	if p.few++; writes >= p.least && (busy >= manyWrites || !p.comparing) {
		p.few = 0
	}
	if p.few == fewGroups {
		p.comparing = false
		p.turn(false, now)
		p.next = now
		return
	}
	if p.behind { // it had to wait for them
		p.last, p.behind = now, !batch
		return
	}
	if batch {
		p.groups++
		p.learn(took)
	}
	cost, ok := p.measure(now, writes, busy)
	switch {
	case !ok:
	case p.comparing:
		p.judge(cost, now)
	case !now.Before(p.next), cost > p.singly && !now.Before(p.next.Add(minPause-stay)):
		p.compare(true)
		p.turn(false, now)
	}
}

// refuse takes that a batch came to nothing. Of that now and then one does, nothing is learned; if all do, each write is published twice, and what a
// write takes in groups is never known.
func (p *pace) refuse(now time.Time) {
	if p.refused++; p.refused == fewGroups {
		p.giveUp(now)
	}
}

// compare begins a comparison.
func (p *pace) compare(kept bool) { p.comparing, p.kept, p.lead, p.slow, p.least = true, kept, 0, 0, 2 }

// judge takes what a write cost in groups, of a turn in which it cost p.singly by itself. To begin with groups they have to be faster by a fifth.
func (p *pace) judge(cost time.Duration, now time.Time) {
	bound := p.singly
	if !p.kept {
		bound = bound * 4 / 5
	}
	switch {
	case cost <= bound:
		p.lead++
	case cost <= 2*p.singly:
		p.lead--
	default:
		p.lead -= 2 // while it is not plain yet, everybody waits so much longer
	}
	switch {
	case p.lead >= enough:
		p.comparing, p.pause, p.next = false, minPause, now.Add(stay)
	case p.lead <= -enough:
		p.giveUp(now)
	default:
		p.turn(false, now)
	}
}

// learn takes how long a batch took: one of so few writes that they would have been as fast one by one is not made.
func (p *pace) learn(took time.Duration) {
	if p.batch == 0 {
		p.batch = took
	}
	p.batch += (took - p.batch) / 4
	if !p.comparing && p.singly > 0 {
		p.least = min(max(2, int(p.batch/p.singly)), mostLeast)
	}
}

// measure adds an answer to the measurement. It returns what a write takes when that is known.
func (p *pace) measure(now time.Time, writes, busy int) (time.Duration, bool) {
	since := now.Sub(p.last)
	p.last = now
	if busy < manyWrites || since > time.Second {
		return 0, false
	}
	p.elapsed += since
	p.writes += writes
	if p.writes < aWindow || p.grouped && p.groups < groupsWindow {
		return 0, false
	}
	cost := p.elapsed / time.Duration(p.writes)
	p.elapsed, p.writes, p.groups = 0, 0, 0
	return cost, true
}

func (p *pace) reset() { p.elapsed, p.writes, p.groups, p.few = 0, 0, 0, 0 }

// turn changes the way.
func (p *pace) turn(grouped bool, now time.Time) {
	p.grouped, p.behind, p.last = grouped, grouped, now
	p.reset()
}

// giveUp goes back to single writes for a while.
func (p *pace) giveUp(now time.Time) {
	p.comparing, p.refused = false, 0
	p.turn(false, now)
	p.next = now.Add(p.pause)
	p.pause = min(2*p.pause, maxPause)
}

// unable is that the log does not take batches, or not now.
func (p *pace) unable(now time.Time) {
	if p.grouped {
		p.giveUp(now)
	}
}

// look has a client that always groups begin again when the log did not take batches for a while.
func (p *pace) look(now time.Time) {
	if p.mode == GroupAlways && !p.grouped && !now.Before(p.next) {
		p.turn(true, now)
	}
}
