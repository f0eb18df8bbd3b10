package client

import (
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/persistd/persistd/internal/wire"
)

// group is publications of different runs that are under way together: as one atomic batch, so that a log that fsyncs does so once for all of
// them, or, when they are few, one by one. While a group is under way what else is to be sent gathers for the next.
//
//	gathering ──nothing is under way, and those who wrote last are back──▶ under way ──every member logged, or refused──▶ over
//
// A batch is all or nothing, and its members have nothing to do with each other. So one that is refused, for whatever reason, is dissolved:
// each member is published by itself, at once, and has an outcome of its own. One that is not answered is dissolved as well, and what
// its members are published with again are the same message ids. They never are in a batch again, which would be refused for those ids.
type group struct {
	publisher *publisher
	members   []attempt
	number    uint64 // in the mux; 0 when the members go one by one
	sent      time.Time
	left      int  // members that are under way
	logged    bool // none was refused so far
}

var _ receiver = (*group)(nil)

const (
	// maxGroup is how many messages a batch of the log may have, unless the server says less.
	maxGroup = 1000
	// maxGroupBytes bounds the bodies of a group: beyond it a batch takes longer, and an fsync weighs little.
	maxGroupBytes = 4 << 20
	// maxMember is the largest body that is grouped.
	maxMember = 128 << 10
	// maxLinger is for how long those who wrote in the last group are waited for at most.
	maxLinger = 5 * time.Millisecond
)

// canGroup reports whether pub may be in a batch with others: it is one message, a first attempt as far as the log knows, and small.
func (p *publisher) canGroup(pub *publication) bool {
	return !pub.inner && !pub.alone && !pub.isBatch() && pub.question == noQuestion && pub.unanswered.IsZero() &&
		len(pub.msgs[0].Data) <= min(maxMember, int(p.maxPayload.Load())/2)
}

// gathersLocked reports whether pub, the last in the queue, waits there for something that wakes the pump: the end of the group that is under
// way, or of the time in which more are awaited, which the pump knows of from the first one.
func (p *publisher) gathersLocked(pub *publication) bool {
	return p.pace.grouped && p.canGroup(pub) && (p.group != nil || 1 < len(p.queue) && len(p.queue) < p.awaited && p.lingers.After(time.Now()))
}

// formLocked makes a group of those that gathered, if one is due, appends what is to be sent of it to batch, and returns when to look
// again, if that is before due.
func (p *publisher) formLocked(gathered []*publication, batch []attempt, now, due time.Time) ([]attempt, time.Time) {
	switch {
	case len(gathered) == 0:
		return batch, due
	case p.group != nil && p.pace.grouped: // its end wakes the pump
		p.queue = append(p.queue, gathered...)
		return batch, due
	case len(gathered) < p.awaited && p.lingers.After(now):
		p.queue = append(p.queue, gathered...)
		if p.lingers.Before(due) {
			due = p.lingers
		}
		return batch, due
	}
	g := &group{publisher: p, sent: now, logged: true}
	size, n := 0, 0
	for n < min(len(gathered), p.pace.most) && (n == 0 || size+gathered[n].size() <= maxGroupBytes) {
		size += gathered[n].size()
		n++
	}
	p.queue = append(p.queue, gathered[n:]...)
	g.left, g.members = n, make([]attempt, 0, n)
	for _, pub := range gathered[:n] {
		pub.group = g
		g.members = append(g.members, p.launchLocked(pub, now))
	}
	p.group = g
	if n < p.pace.least {
		return append(batch, g.members...), due
	}
	g.number = p.mux.add(g)
	return append(batch, attempt{group: g}), due
}

// leaveLocked is when the attempt of pub in its group is over.
func (p *publisher) leaveLocked(pub *publication, logged bool) {
	g := pub.group
	if g == nil {
		return
	}
	pub.group = nil
	g.logged = g.logged && logged
	if g.left--; g.left > 0 || p.group != g {
		return
	}
	p.group = nil
	if g.number > 0 {
		p.mux.remove(g.number)
	}
	now := time.Now()
	took := now.Sub(g.sent)
	p.awaited, p.lingers = len(g.members), now.Add(min(took/4, maxLinger))
	p.pace.group(now, took, len(g.members), len(g.members)+len(p.queue), g.number > 0, g.logged)
	p.wakeUp()
}

// sendGroup publishes g as one batch. The first message is answered too: with what is wrong with the batch from the beginning.
func (p *publisher) sendGroup(g *group) {
	first := g.members[0]
	batch := batchID(first.pub.msgs[0].Header[wire.HeaderMsgID][0], first.number)
	for i, a := range g.members {
		m := a.pub.msgs[0]
		if a.fence.subject != "" {
			a.fence.guard(m.Header)
		}
		m.Reply = ""
		if i == 0 || i == len(g.members)-1 {
			m.Reply = p.mux.reply(g.number, 1)
		}
		m.Header[headerBatch] = []string{batch}
		m.Header[headerBatchNo] = []string{strconv.Itoa(i + 1)}
		if i == len(g.members)-1 {
			m.Header[headerBatchCommit] = []string{"1"}
		}
		err := p.nc.PublishMsg(m)
		for _, h := range []string{headerBatch, headerBatchNo, headerBatchCommit} {
			delete(m.Header, h) // the next attempt is no batch's
		}
		if err != nil {
			f := publishFault(err)
			f.unsent = f.unsent || i < len(g.members)-1 // a batch takes effect with its last message
			p.dissolve(g, f)
			return
		}
	}
}

func (g *group) subject() string { return "" }

// fail does nothing: the members are in the mux as well.
func (g *group) fail(error) {}

func (g *group) receive(_ int, m *nats.Msg) {
	if len(m.Data) == 0 && len(m.Header) == 0 { // the log has the first message
		return
	}
	ack, err := parseAck(m)
	switch {
	case err != nil:
		g.publisher.dissolve(g, asFault(err))
	case ack.Count != len(g.members):
		g.publisher.dissolve(g, errNoGroups)
	default:
		g.publisher.groupLogged(g, ack)
	}
}

// groupLogged is when the log has g, its members side by side, the last at ack.
func (p *publisher) groupLogged(g *group, ack pubAck) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = nil
	for i, a := range g.members {
		if a.pub.group != g { // it goes on without
			continue
		}
		a.pub.ack = pubAck{Stream: ack.Stream, Sequence: ack.Sequence - uint64(len(g.members)-1-i)} //nolint:gosec // G115: below 1000.
		p.settleLocked(a.pub, nil)
	}
}

// dissolve is when the log refused g, or did not get it. What is no more than a member's fault has each published by itself.
func (p *publisher) dissolve(g *group, f *fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The connection refuses as too large, or as no message, the one member that it was given, and loses nothing of what it is given next.
	apart := f.code != 0 || f == errNoGroups || errors.Is(f, ErrTooLarge) || errors.Is(f, ErrRejected)
	switch {
	case f.code == codeBatchTooLong:
		p.pace.most = max(2, len(g.members)/2)
	case f.code == codeBatchesOff, f.code == codeBatchesBusy, f == errNoGroups:
		p.pace.unable(time.Now())
	}
	for _, a := range g.members {
		switch pub := a.pub; {
		case pub.group != g:
		case apart:
			p.aloneLocked(pub, f)
		default:
			p.refusedLocked(pub, f)
		}
	}
}

// brokenLocked is when the server did not let a member of g through: the batch has a gap, of which the log tells whoever ends it, or no end, of
// which it tells nobody. So the others do not wait for its answer. They count as perhaps logged, for nothing said that they are not.
func (p *publisher) brokenLocked(g *group) {
	for _, a := range g.members {
		if a.pub.group == g {
			p.aloneLocked(a.pub, errBroken)
		}
	}
}

// aloneLocked publishes pub by itself: what its group was refused for may be another's fault.
func (p *publisher) aloneLocked(pub *publication, f *fault) {
	p.leaveLocked(pub, false)
	if !f.unsent && pub.unanswered.IsZero() {
		pub.unanswered = pub.sent
	}
	pub.alone, pub.cause = true, groupFault(f)
	if pub.abandoned && pub.unanswered.IsZero() {
		p.settleLocked(pub, pub.cause) // surely not logged, and nobody wants it to be
		return
	}
	p.readyLocked(pub)
}
