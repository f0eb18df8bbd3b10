package client

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"
)

// answered takes the outcome of an attempt. A refusal of an earlier attempt than the present one is none; that it was stored is.
func (p *publisher) answered(pub *publication, attempt int, ack pubAck, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pub.phase == settled:
	case err == nil:
		pub.ack = ack
		p.trouble = nil
		if pub.group == nil {
			p.pace.single(time.Now(), len(p.runs))
		}
		p.settleLocked(pub, nil)
	case pub.phase == outstanding && (attempt == anyAttempt || attempt == pub.attempt), asFault(err).final && attempt == anyAttempt:
		g := pub.group
		p.refusedLocked(pub, err)
		if g != nil && g.number > 0 && errors.Is(err, ErrPermission) {
			p.brokenLocked(g)
		}
	}
}

// refusedLocked gives pub up, or has it tried again after a pause, or finds out first what became of it.
func (p *publisher) refusedLocked(pub *publication, err error) {
	f := asFault(err)
	p.leaveLocked(pub, false)
	if pub.phase == outstanding && !f.unsent && pub.unanswered.IsZero() {
		pub.unanswered = pub.sent
	}
	switch {
	case f.code == codeBatchRepeated:
		p.askLocked(pub, atWhich)
	case f.code == codeFenced && !pub.unanswered.IsZero():
		p.askLocked(pub, whether)
	case f.code == codeFenced:
		p.fencedLocked(pub)
	case f.code == codeNotRepeated && pub.question == whether:
		pub.question, pub.unanswered = noQuestion, time.Time{}
		p.fencedLocked(pub)
	case f.code == codeNotRepeated:
		p.settleLocked(pub, unknownFault(nil, errForgotten))
	default:
		p.againLocked(pub, err)
	}
}

var errForgotten = errors.New("log had it, and has forgotten where")

// againLocked has pub tried again after a pause, unless there is no point in that.
func (p *publisher) againLocked(pub *publication, err error) {
	now, pause, f := time.Now(), pub.pause(), asFault(err)
	pub.cause = err
	if !f.final {
		p.trouble = err
	}
	switch {
	case f.final:
		if !pub.unanswered.IsZero() {
			err = unknownFault(nil, err)
		}
		p.settleLocked(pub, err)
	case pub.abandoned && pub.unanswered.IsZero():
		p.settleLocked(pub, err) // surely not logged, and nobody wants it to be
	case p.tooLate(pub, now.Add(pause)):
		p.settleLocked(pub, p.gaveUp(err))
	default:
		pub.phase = pausing
		p.scheduleLocked(pub, now.Add(pause))
		if pub.attempt == 5 {
			p.cfg.logger.Warn("publish does not get through, trying on", zap.Error(err), zap.String("hint", f.hint), zap.String("run_id", pub.runID))
		}
	}
}

// askLocked has pub's next attempts ask what became of the ones before.
func (p *publisher) askLocked(pub *publication, q question) {
	if p.tooLate(pub, time.Now()) {
		p.settleLocked(pub, p.gaveUp(errNoAnswer))
		return
	}
	pub.question = q
	p.readyLocked(pub)
}

// fencedLocked is when pub is surely not in the log, which has another beginning of an attempt than the one it expects.
func (p *publisher) fencedLocked(pub *publication) {
	if pub.refence == nil || pub.abandoned {
		p.settleLocked(pub, errFenced)
		return
	}
	p.unscheduleLocked(pub)
	pub.phase, pub.cause = fencing, errFence
	p.refused = append(p.refused, pub)
	p.wakeUp()
}

// renew looks for pub's fence anew, and has it published again with that.
func (p *publisher) renew(ctx context.Context, pub *publication, refused fence) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.timeout)
	defer cancel()
	found, err := pub.refence(ctx, refused)
	if err == nil && found == refused {
		err = errFence
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case pub.phase != fencing: // it was given up meanwhile
	case err != nil:
		p.againLocked(pub, err)
	default:
		pub.fence = found
		p.readyLocked(pub)
	}
}

// staged takes the answer to a part of a batch that was not the last: the log is at work on it.
func (p *publisher) staged(pub *publication, attempt int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progressLocked(pub, attempt)
}

// progressLocked gives an attempt its timeout anew.
func (p *publisher) progressLocked(pub *publication, attempt int) {
	if pub.phase == outstanding && pub.attempt == attempt {
		p.scheduleLocked(pub, time.Now().Add(p.cfg.attemptTimeout))
	}
}

// tooLate reports whether an attempt at the time at may meet a log that holds pub's message and has forgotten its id. The clock that
// measures durations may stand still while the machine sleeps, so the clock on the wall is asked as well.
func (p *publisher) tooLate(pub *publication, at time.Time) bool {
	if pub.unanswered.IsZero() {
		return false
	}
	return max(at.Sub(pub.unanswered), at.Round(0).Sub(pub.unanswered)) > p.cfg.retryLimit
}

func (p *publisher) gaveUp(cause error) *fault {
	return unknownFault(cause, fmt.Errorf("gave up after %s: %w", p.cfg.retryLimit, context.DeadlineExceeded))
}

func asFault(err error) *fault {
	if f, ok := errors.AsType[*fault](err); ok {
		return f
	}
	return &fault{kind: ErrUnavailable, err: err}
}

// settleLocked ends pub and has its run go on.
func (p *publisher) settleLocked(pub *publication, err error) {
	p.mux.remove(pub.id)
	p.unscheduleLocked(pub)
	p.leaveLocked(pub, err == nil)
	p.chains.settled(pub, err == nil)
	pub.phase, pub.err = settled, err

	run := p.runs[pub.subject()]
	i := slices.Index(run, pub)
	switch {
	case len(run) == 1:
		delete(p.runs, pub.subject())
	case i == 0:
		run[0] = nil
		p.runs[pub.subject()] = run[1:]
		p.readyLocked(run[1])
	default:
		p.runs[pub.subject()] = slices.Delete(run, i, i+1)
	}
	if err == nil || !pub.async {
		p.endLocked(pub)
		return
	}
	err = pub.explain(err)
	pub.err = err
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, err)
	} else {
		p.dropped++
	}
	if p.cfg.onError == nil {
		p.endLocked(pub)
		return
	}
	p.handing <- pub // has room for everything in flight
}

// endLocked is when pub no longer counts as in flight.
func (p *publisher) endLocked(pub *publication) {
	p.pending.Remove(pub.entry)
	p.release(pub)
	close(pub.done)
}

// handOver calls the error handler, one error at a time.
func (p *publisher) handOver() {
	for pub := range p.handing {
		p.cfg.onError(pub.err)
		p.mu.Lock()
		p.endLocked(pub)
		p.mu.Unlock()
	}
}

func (p *publisher) readyLocked(pub *publication) {
	p.unscheduleLocked(pub)
	pub.phase = ready
	p.queue = append(p.queue, pub)
	if !p.gathersLocked(pub) {
		p.wakeUp()
	}
}

// wakeUp has the pump look at what is to be done.
func (p *publisher) wakeUp() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (p *publisher) scheduleLocked(pub *publication, due time.Time) {
	pub.due = due
	if pub.slot >= 0 {
		heap.Fix(&p.timers, pub.slot)
	} else {
		heap.Push(&p.timers, pub)
	}
	if pub.slot == 0 {
		p.wakeUp()
	}
}

func (p *publisher) unscheduleLocked(pub *publication) {
	if pub.slot >= 0 {
		heap.Remove(&p.timers, pub.slot)
	}
}
