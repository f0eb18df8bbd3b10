package client

import (
	"container/heap"
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// attempt is what the pump sends.
type attempt struct {
	pub    *publication
	number int
	fence  fence
	asks   bool // a question, instead of the messages
	// group is what is sent in one batch; the others are not set then.
	group *group
}

// pump sends what is ready and what has paused long enough, notices what was not answered in time, and has fences looked for until
// ctx ends, as it does when the pump does.
func (p *publisher) pump(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []attempt
	for {
		p.news()
		var next time.Duration
		batch, next = p.collect(batch[:0])
		for _, a := range p.takeRefused() {
			p.goroutines.Go(func() { p.renew(ctx, a.pub, a.fence) })
		}
		for _, a := range batch {
			if a.group != nil {
				p.sendGroup(a.group)
			} else {
				p.send(a)
			}
		}
		if len(batch) > 0 {
			clear(batch)
			continue // something may have become due, or ready, while sending
		}
		timer.Reset(next)
		select {
		case <-p.wake:
		case <-timer.C:
		case s, ok := <-p.status:
			if ok {
				p.connection(s)
			}
		case <-p.stop:
			return
		}
	}
}

// news takes the changes of the connection's state that are there. The pump looks before it sends, so that what goes through another connection
// begins another chain, and also while there is always something to be sent. What remains is a loss between the look and the publish: what is
// sent at that moment, if the connection is back as soon, goes on with a chain of the server that is lost.
func (p *publisher) news() {
	for {
		select {
		case s, ok := <-p.status:
			if !ok {
				return
			}
			p.connection(s)
		default:
			return
		}
	}
}

// collect makes outstanding what is to be sent now, appends it to batch, and says when something will be due.
func (p *publisher) collect(batch []attempt) ([]attempt, time.Duration) {
	said := lastError(p.nc, p.cfg) // before p.mu is held: it is behind the lock that a write to a stalled socket holds
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = said
	now := time.Now()
	for len(p.timers) > 0 && !p.timers[0].due.After(now) {
		pub := heap.Pop(&p.timers).(*publication) //nolint:forcetypeassert // the heap holds nothing else.
		switch {
		case pub.phase != pausing:
			p.refusedLocked(pub, p.silenceLocked(pub))
		case p.tooLate(pub, now): // this process was stopped while pub paused
			p.settleLocked(pub, p.gaveUp(pub.cause))
		default:
			pub.phase = ready
			p.queue = append(p.queue, pub)
		}
	}
	p.pace.look(now)
	var gathered []*publication
	for _, pub := range p.queue {
		switch {
		case pub.phase != ready: // withdrawn
		case p.pace.grouped && p.canGroup(pub):
			gathered = append(gathered, pub)
		default:
			batch = append(batch, p.launchLocked(pub, now))
		}
	}
	clear(p.queue)
	p.queue = p.queue[:0]
	due := now.Add(time.Hour)
	if len(p.timers) > 0 {
		due = p.timers[0].due
	}
	batch, due = p.formLocked(gathered, batch, now, due)
	return batch, due.Sub(now)
}

// launchLocked begins pub's next attempt.
func (p *publisher) launchLocked(pub *publication, now time.Time) attempt {
	pub.phase, pub.sent, pub.said = outstanding, now, p.said
	pub.attempt++
	p.chains.sending(pub, int(p.maxPayload.Load()))
	p.scheduleLocked(pub, now.Add(p.cfg.attemptTimeout))
	return attempt{pub: pub, number: pub.attempt, fence: pub.fence, asks: pub.question != noQuestion}
}

// silenceLocked is why an attempt was not answered.
func (p *publisher) silenceLocked(pub *publication) error {
	if denied := newlyDenied(pub.said, p.said); denied == pub.subject() {
		return permissionFault("publish to " + denied)
	}
	return errNoAnswer
}

// takeRefused returns what is to have its fence looked for.
func (p *publisher) takeRefused() []attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	var refused []attempt
	for _, pub := range p.refused {
		if pub.phase == fencing { // not withdrawn
			refused = append(refused, attempt{pub: pub, fence: pub.fence})
		}
	}
	p.refused = nil
	return refused
}

// send publishes the messages of a. A batch takes effect with its last one: what was cut off before is nothing.
func (p *publisher) send(a attempt) {
	msgs := a.pub.dress(a, p.mux.reply(a.pub.id, a.number))
	for i, m := range msgs {
		if i > 0 && !p.isCurrent(a) {
			return // refused already
		}
		if err := p.nc.PublishMsg(m); err != nil {
			f := publishFault(err)
			f.unsent = f.unsent || i < len(msgs)-1
			p.answered(a.pub, a.number, pubAck{}, f)
			return
		}
	}
	if len(msgs) > 1 { // sending may have taken long
		p.mu.Lock()
		defer p.mu.Unlock()
		p.progressLocked(a.pub, a.number)
	}
}

func (p *publisher) isCurrent(a attempt) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return a.pub.phase == outstanding && a.pub.attempt == a.number
}

// connection takes a change of the connection's state. What was outstanding on a lost one will not be answered; when it is back
// everything is tried at once.
func (p *publisher) connection(s nats.Status) {
	switch s {
	case nats.RECONNECTING:
		p.cfg.logger.Warn("lost connection to NATS", zap.Error(p.nc.LastError()), zap.String("hint", hintConn))
		p.endChains()
		p.mux.fail("", errLostConn)
	case nats.CONNECTED:
		p.cfg.logger.Info("connected to NATS")
		p.maxPayload.Store(p.nc.MaxPayload())
		p.retryNow()
	case nats.CLOSED:
		p.mux.fail("", errConnGone)
	default: // the listener is registered for no other
	}
}

func (p *publisher) endChains() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chains.endAll()
}

func (p *publisher) retryNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pub := range p.timers {
		if pub.phase == pausing {
			pub.due = time.Time{}
		}
	}
	heap.Init(&p.timers)
}
