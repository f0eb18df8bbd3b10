package client

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/persistd/persistd/internal/wire"
)

// link is what a publication may add to its run's chain: a step of an attempt; see [wire.HeaderChain].
type link struct {
	fits    bool // it is one step and nothing else, in one message
	step    int32
	attempt uint32
}

// linkOf is w's, which is published as msgs.
func linkOf(w *write, msgs []*nats.Msg) link {
	if w.kind != wire.KindRun || len(msgs) != 1 || len(w.ops) != 1 || w.ops[0].Type != wire.OpStep {
		return link{}
	}
	return link{fits: true, step: w.ops[0].Step, attempt: w.attempt}
}

// chain is the steps that this client wrote of a run one after the other, each acknowledged before the next was sent.
type chain struct {
	id   string
	no   uint64 // of the last one that was acknowledged; 0 before the first one is
	last link   // which that was, or will be
}

// maxChains is how many runs' chains are kept at least, of those that were written last; at most twice as many. With ids of 36
// characters that is 2 to 4 MB. A run whose chain is forgotten begins another.
const maxChains = 8192

// chains are the chains of the runs that were written last, by subject. They are guarded by publisher.mu.
//
//	a step is sent for the first time → it has its run's next number, also when it is sent again
//	acknowledged                      → the next one has the next number
//	anything else is sent, or what was sent is not known to be logged, or a step is lower, or of another attempt → the chain ends
//	the connection is lost            → all end: what a server had acknowledged may be gone with it
//
// Of a run at most one publication is under way, so a number is given out again only when the chain has ended.
type chains struct {
	young, old map[string]*chain // what is not used while young fills is forgotten
}

// of is the chain of a subject, nil when it has none.
func (c *chains) of(subject string) *chain {
	if known := c.young[subject]; known != nil {
		return known
	}
	known := c.old[subject]
	if known != nil {
		c.put(subject, known)
	}
	return known
}

func (c *chains) put(subject string, known *chain) {
	if c.young == nil || len(c.young) >= maxChains {
		c.young, c.old = map[string]*chain{}, c.young
	}
	c.young[subject] = known
}

func (c *chains) end(subject string) {
	delete(c.young, subject)
	delete(c.old, subject)
}

func (c *chains) endAll() { c.young, c.old = nil, nil }

// sending gives pub, which is about to be sent, its place in its run's chain. most is how large a message may be, 0 when that is not known.
func (c *chains) sending(pub *publication, most int) {
	subject := pub.subject()
	known := c.of(subject)
	switch {
	case pub.attempt > 1: // it keeps its place, unless the chain has ended
		if pub.chain != nil && pub.chain != known {
			pub.chain = nil
			delete(pub.msgs[0].Header, wire.HeaderChain)
		}
		return
	case !pub.link.fits:
		if known != nil {
			c.end(subject)
		}
		return
	case known == nil || known.last.attempt != pub.link.attempt || known.last.step > pub.link.step:
		known = &chain{id: pub.msgs[0].Header[wire.HeaderMsgID][0]}
		c.put(subject, known)
	}
	place := wire.Chain{ID: known.id, No: known.no + 1}.String()
	if !pub.hasRoom(len(wire.HeaderChain)+len(": \r\n")+len(place), most) {
		c.end(subject)
		return
	}
	known.last, pub.chain = pub.link, known
	pub.place[0] = place
	pub.msgs[0].Header[wire.HeaderChain] = pub.place[:]
}

// settled takes whether pub is known to be logged.
func (c *chains) settled(pub *publication, logged bool) {
	switch {
	case pub.chain == nil:
	case logged:
		pub.chain.no++
	case c.of(pub.subject()) == pub.chain:
		c.end(pub.subject())
	}
}

// hasRoom reports whether a message of at most most bytes has room for so many bytes more of headers, once it has its fence.
func (p *publication) hasRoom(header, most int) bool {
	const others = 2048 // more than a message has otherwise, for short
	m := p.msgs[0]
	switch {
	case most == 0: // there was no connection yet, and the message may be as large as one may be
		return false
	case len(m.Data)+header+others <= most:
		return true
	}
	size := headerSize(m.Header) + len(m.Data) + header
	if p.fence.subject != "" {
		size += len(jetstream.ExpectedLastSubjSeqHeader+": \r\n"+jetstream.ExpectedLastSubjSeqSubjHeader+": \r\n18446744073709551615") + len(p.fence.subject)
	}
	return size <= most
}
