package batcher

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Joint commits batches of several partitions at once.
type Joint interface {
	// CommitAll does for all batches, each of another partition, what [Store].Commit does for one, in one transaction: each under its own
	// fence, and all of them or none. An error says nothing of whose fault it is, and leaves open what Commit leaves open: each batch is
	// then committed alone. It blocks until the outcome is known or ctx ends.
	CommitAll(ctx context.Context, batches []*Batch) error
}

// Gate bounds the commits that run at the same time, and joins small ones. A transaction costs the database about as much as several rows do,
// whoever's they are: so who gets a place takes along the batches of all others that wait, as far as they fit into a batch's bounds with his.
// Nobody waits for others to come; it is by waiting for a place that they meet.
//
//	a place is free:
//	    the first in line whose batch is small  ── and fewer than [joints] such transactions run: the others had better wait, and be joined
//	        gather it and, in line order, all small ones that fit with it
//	        several → one transaction           ── fails, whyever: each goes to the end of the line, and alone
//	                                               (crash here: all of them or none, each read again from its position)
//	        one     → it commits alone
//	    the first in line that goes alone       ── a batch that is full, that deletes runs, that is tried again; dead letters to be kept
//
// Small commits that take longer than [patience] are stuck, or the database is busy: others no longer wait for them while places are free.
//
// When several transactions fail in a row nothing is joined for a while (see [rest]).
//
// A nil Gate has places for all, and joins nothing.
type Gate struct {
	joint Joint

	mu    sync.Mutex // guards what follows; nothing blocks while it is held
	free  int
	small int // small commits that run, but for those that take long
	line  []*turn
	rest  rest // from joining
}

const (
	// joints is how many small commits run at once. With one more than there must be, one waits for the disk while the other works; with
	// more, each has fewer rows.
	joints = 2
	// patience is how long a small commit keeps others from the places that are free.
	patience = 200 * time.Millisecond
)

// NewGate has so many places. joint may be nil: then no batches are joined.
func NewGate(places int, joint Joint) *Gate { return &Gate{joint: joint, free: places} }

// turn is a batch that waits for a place. Until it is told something, or has left the line, its batcher does nothing else, and the gate may
// gather for it.
type turn struct {
	b     *Batcher
	batch *Batch
	alone bool
	told  chan *pass // of one place
	// rows and bytes are the batch's when it comes: of its first event.
	rows, bytes int
}

// pass is what a turn is told: that it has a place, or what became of its batch in another's.
type pass struct {
	at time.Time // when its commit begins
	// with are those whose batches are to be committed with its own; they wait to be told what became of them.
	with []*turn
	// joined says that another had the place, and err what came of it.
	joined bool
	err    error

	small bool        // that it counts as a small commit; guarded by the gate's mu
	late  *time.Timer // when it does no longer
}

// enter waits for a place, or for another that takes t along; ctx ends that.
func (g *Gate) enter(ctx context.Context, t *turn) (*pass, error) {
	if g == nil {
		return &pass{at: time.Now()}, nil
	}
	t.told, t.rows, t.bytes = make(chan *pass, 1), t.batch.Rows, t.batch.Bytes
	if g.joint != nil && !t.alone {
		t.b.stands.Store(t) // before the line is looked at: what is added from here on either is seen there, or sees t
		defer t.b.stands.Store(nil)
	}
	g.mu.Lock()
	g.line = append(g.line, t)
	g.admitLocked()
	g.mu.Unlock()
	select {
	case p := <-t.told:
		return p, nil
	case <-ctx.Done():
	}
	err := fmt.Errorf("wait at the gate: %w", context.Cause(ctx))
	g.mu.Lock()
	i := slices.Index(g.line, t)
	if i >= 0 {
		g.line = slices.Delete(g.line, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		select {
		case p := <-t.told: // it came at the same moment
			g.leave(p)
			p.tell(err)
		default:
			// Another has taken it along, and commits it or not: the term is over. Its release waits for the row, but not for as long as that may take:
			// then the lease runs out.
		}
	}
	return nil, err
}

// filled has the gate look again once b's batch, which stands in line, is full: it may have a place that small ones leave free. Who adds calls it,
// with nothing locked; it costs a look at an atomic while no batch stands there or it is small, and more only once for each.
func (g *Gate) filled(b *Batcher) {
	if t := b.stands.Load(); t != nil && !t.fits(0, 0) && b.stands.CompareAndSwap(t, nil) {
		g.mu.Lock()
		g.admitLocked()
		g.mu.Unlock()
	}
}

// leave gives a place back.
func (g *Gate) leave(p *pass) {
	if g == nil || p.joined {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free++
	g.largeLocked(p)
	g.admitLocked()
}

// largeLocked has p count as a small commit no longer, if it did.
func (g *Gate) largeLocked(p *pass) {
	if p.small {
		p.small = false
		g.small--
		p.late.Stop()
	}
}

// tell tells those who were taken along what came of it.
func (p *pass) tell(err error) {
	for _, t := range p.with {
		t.told <- &pass{at: p.at, joined: true, err: err}
	}
}

// admitLocked hands out places.
func (g *Gate) admitLocked() {
	for i := 0; i < len(g.line) && g.free > 0; {
		t := g.line[i]
		if g.small >= joints && g.mayJoin(t) {
			i++
			continue
		}
		g.line = slices.Delete(g.line, i, i+1)
		g.free--
		p := &pass{at: time.Now()}
		if g.gatherLocked(t, 0, 0) {
			p.with = g.joinLocked(t)
			p.small = true
			g.small++
			p.late = time.AfterFunc(patience, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.largeLocked(p)
				g.admitLocked()
			})
		}
		t.told <- p
	}
}

// mayJoin is whether t's batch may be joined with others, as far as is known of it.
func (g *Gate) mayJoin(t *turn) bool {
	return g.joint != nil && !t.alone && t.fits(0, 0) && !g.rest.now()
}

// gatherLocked gathers t's batch if it may be joined with others, who have so much already, and says whether it may. What it gathers is bounded
// by what there is room for beside them: since it was looked at more may have been added.
func (g *Gate) gatherLocked(t *turn, rows, bytes int) bool {
	if !g.mayJoin(t) {
		return false
	}
	t.b.gather(t.batch, rows, bytes)
	poison, _ := poisonOf(t.batch.Events)
	t.alone = len(poison) > 0 || deletes(t.batch) // both may take as long as they like
	return !t.alone
}

// joinLocked takes out of the line what can be committed with t.
func (g *Gate) joinLocked(t *turn) (with []*turn) {
	rows, bytes := t.batch.Rows, t.batch.Bytes
	g.line = slices.DeleteFunc(g.line, func(x *turn) bool {
		if !x.fits(rows, bytes) || !g.gatherLocked(x, rows, bytes) {
			return false
		}
		rows, bytes = rows+x.batch.Rows, bytes+x.batch.Bytes
		with = append(with, x)
		return true
	})
	return with
}

// fits is whether all that t, of which nothing was gathered yet, has to commit is less than fills a batch together with so much else.
func (t *turn) fits(rows, bytes int) bool {
	return int64(rows+t.rows)+t.b.waits.rows.Load() < int64(t.b.cfg.MaxRows) &&
		int64(bytes+t.bytes)+t.b.waits.bytes.Load() < int64(t.b.cfg.MaxBytes)
}

// together commits a batch with those that its pass takes along, and tells them what came of it.
func (b *Batcher) together(ctx context.Context, batch *Batch, p *pass) error {
	all, bytes := []*Batch{batch}, batch.Bytes
	for _, t := range p.with {
		all, bytes = append(all, t.batch), bytes+t.batch.Bytes
	}
	err := b.timed(ctx, "commit together", 1, bytes, func(ctx context.Context) error { return b.deps.Gate.joint.CommitAll(ctx, all) })
	if context.Cause(ctx) == nil { // else it tells only that our term is over
		b.note(err)
	}
	b.deps.Gate.leave(p)
	p.tell(err)
	if err != nil {
		b.deps.Metrics.separations.Inc()
		b.deps.Log.Debug("batches are committed one by one, as together they were not", zap.Int("batches", len(all)), zap.Error(err))
		return err
	}
	b.deps.Metrics.transactionBatches.Observe(float64(len(all)))
	return nil
}

// note tells the gate what became of a transaction of several batches, and the operator when none is tried for a while.
func (b *Batcher) note(err error) {
	g := b.deps.Gate
	g.mu.Lock()
	pause := g.rest.note(err)
	g.mu.Unlock()
	if pause == 0 {
		return
	}
	e := classify(err)
	hint := e.Hint
	if hint == "" {
		hint = "if this comes again: may the database's user have the connections that it needs, and does nothing in between refuse the statement?"
	}
	b.deps.Log.Warn("transactions of several partitions failed in a row, each partition commits alone for a while", zap.Duration("pause", pause),
		zap.Uint16("error_number", e.Number), zap.String("hint", hint), zap.Error(e.Err))
}
