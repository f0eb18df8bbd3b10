package simulation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// server is who answers a call.
type server string

const (
	mysql server = "database"
	nats  server = "log"
)

// fault is what goes wrong with a call.
type fault int

const (
	none        fault = iota
	refusal           // an error, and nothing done
	lostRequest       // nothing done, and no answer
	lostAnswer        // done, and an error
	silence           // done, and no answer
	late              // done after its caller gave up, if it does
	dieBefore         // the caller dies on the line before the call
	dieAfter          // it dies before it has the answer
	outage            // the server is away: an error, or no answer
	faults
)

var faultNames = [faults]string{"none", "refused", "request lost", "answer lost", "no answer", "done late", "caller died before", "caller died after", "server away"}

// fate is drawn for each call.
type fate struct {
	fault
	there, back time.Duration
}

var (
	errDead   = errors.New("process is dead")
	errAway   = errors.New("connection refused")
	errBroken = errors.New("connection was broken")
)

// fate draws what becomes of a call. How likely faults are is the plan's.
func (w *world) fate(d *dice) fate {
	d.mu.Lock()
	defer d.mu.Unlock()
	span := func(from, to time.Duration) time.Duration { return from + time.Duration(d.r.Int64N(int64(to-from))) }
	f := fate{there: span(100*time.Microsecond, 2*time.Millisecond), back: span(100*time.Microsecond, 2*time.Millisecond)}
	what, slow := d.r.Float64(), d.r.Float64()
	// Drawn in any case, so that a call's fate does not depend on the one before it.
	slowness, which := span(5*time.Millisecond, 60*time.Millisecond), d.r.IntN(12)
	long := span(lease/10, 3*lease/2)
	if w.healed.Load() {
		return f
	}
	switch {
	case slow < w.plan.slow/8:
		f.there += long
	case slow < w.plan.slow/4:
		f.back += long
	case slow < w.plan.slow:
		f.there += slowness
	}
	if what < w.plan.faulty {
		f.fault = [...]fault{refusal, refusal, lostRequest, lostAnswer, lostAnswer, lostAnswer, silence, late, late, dieBefore, dieAfter, dieAfter}[which]
	}
	return f
}

// call carries a call to a server, does it there at one moment, and carries its answer back. effect is done with the world in hand, perhaps
// when nobody waits for its answer any more. A call of nobody is one of a worker, which neither dies nor stops.
func call[T any](ctx context.Context, w *world, p *process, to server, name string, effect func() (T, error)) (answer T, err error) {
	var nothing T
	if err := p.runs(); err != nil {
		return nothing, err
	}
	f := w.fate(w.diceOf(p.title(), name))
	if w.plan.crowd > 1 && strings.HasPrefix(name, "commit") {
		f.there += busy
	}
	if p == nil && (f.fault == dieBefore || f.fault == dieAfter) {
		f.fault = lostAnswer
	}
	if err := w.send(ctx, p, to, name, &f, func() { _, _ = effect() }); err != nil {
		return nothing, err
	}
	w.mu.Lock()
	if w.away(to, p, writes(name)) {
		f.fault = outage
	}
	w.surfaced[f.fault]++
	switch f.fault {
	case refusal, outage:
		err = fmt.Errorf("%s: %w", name, errAway)
	case lostRequest:
	default:
		answer, err = effect()
	}
	hang := f.fault == lostRequest || f.fault == silence || f.fault == outage && f.there%2 == 0
	w.mu.Unlock()
	switch {
	case f.fault == dieAfter && !w.healed.Load():
		p.crash()
		return nothing, errDead
	case hang:
		return nothing, w.hang(ctx, p)
	}
	if !p.sleep(ctx, f.back) {
		return nothing, cause(ctx)
	}
	if err := p.runs(); err != nil {
		return nothing, err
	}
	if f.fault == lostAnswer {
		return nothing, fmt.Errorf("%s: %w", name, errBroken)
	}
	return answer, err
}

// send is the way there. Whoever gives up on it or dies leaves the call on its way: it may be done all the same.
func (w *world) send(ctx context.Context, p *process, to server, name string, f *fate, effect func()) error {
	if f.fault == dieBefore && !w.healed.Load() {
		w.surface(f.fault)
		p.crash()
		return errDead
	}
	sent := time.Now()
	if f.fault == late { // longer than anybody waits
		f.there += lease
	}
	if p.sleep(ctx, f.there) {
		return nil
	}
	if f.fault == late || f.there%3 == 0 {
		time.AfterFunc(f.there-time.Since(sent), func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			closed := w.over || p == nil && w.healed.Load() // what is published last is the last
			if !closed && !w.away(to, p, writes(name)) {
				w.surfaced[late]++
				if w.healed.Load() {
					w.stragglers++
				}
				effect()
			}
		})
	}
	if err := p.dead(); err != nil {
		return err
	}
	return cause(ctx)
}

// hang waits for what does not come.
func (w *world) hang(ctx context.Context, p *process) error {
	p.sleep(ctx, time.Minute) // every caller has less patience
	if err := p.dead(); err != nil {
		return err
	}
	return cause(ctx)
}

func cause(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return errBroken
}

func (w *world) surface(f fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.surfaced[f]++
}

// window is a time in which a server is away, for one replica or for all.
type window struct {
	to       server
	replica  int  // -1 is all, and workers
	readOnly bool // it answers, but takes nothing: a database that is read-only, or whose disk is full
	from     time.Duration
	duration time.Duration
}

// writes says whether a call to the database writes.
func writes(name string) bool {
	verb, _, _ := strings.Cut(name, " ")
	return verb == "commit" || verb == "acquire" || verb == "renew" || verb == "release"
}

// away says whether the server is away for p now.
func (w *world) away(to server, p *process, writes bool) bool {
	if w.healed.Load() {
		return false
	}
	now := time.Since(w.began)
	for _, o := range w.plan.outages {
		if o.to == to && (writes || !o.readOnly) && (o.replica < 0 || p != nil && o.replica == p.slot.no) && now >= o.from && now < o.from+o.duration {
			return true
		}
	}
	return false
}
