package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// anewError ends a session of which nothing is in doubt: the next one is to begin at once, with another kind of consumer.
type anewError struct{ why error }

func (e *anewError) Error() string { return "read through another consumer: " + e.why.Error() }
func (e *anewError) Unwrap() error { return e.why }

// sharing has the partitions of a log read through one consumer while there is a backlog in each of them, which spares the server
// passing over every message once for each partition. Who reads a partition does not know: it opens a consumer, and that is a private one or
// a [lane] of a [tape].
//
//	           each partition is open, and behind                each joined within the time, near each other
//	private ───────────────────────────────────▶ gathering ─────────────────────────────────────────────▶ shared
//	   ▲            all are to be opened again        │ one did not come                                      │ caught up, a lane was closed or
//	   └──────────────────────────────────────────────┴───────────────────────────────────────────────────────┘ stalled, the consumer failed
//
// All of it is about which consumer a session has. Where a session begins its reader says, in each of the cases; a lane sends nothing
// before that, and all of the partition from there on, since its tape begins at or before it. How much is behind is only a hint, whether it is worth
// it: what is delivered does not depend on it.
type sharing struct {
	Server
	cfg     Config
	log     *zap.Logger
	metrics *metrics

	mu        sync.Mutex // guards what follows; nothing blocks while it is held
	open      []*private // by partition; nil where there is none, or one that is to end
	gathering *gathering // nil while there is none
	not       time.Time  // not to be tried before
	pause     time.Duration
}

// gathering is a try to read all partitions through one consumer.
type gathering struct {
	joined  int
	from    []uint64 // by partition; 0 before it joined
	behind  []uint64
	expired *time.Timer
	decided chan struct{} // closed when it is known what became of it:
	lanes   []*lane       // nil when it came to nothing
}

func newSharing(server Server, cfg Config, log *zap.Logger, m *metrics) *sharing {
	return &sharing{Server: server, cfg: cfg, log: log, metrics: m, open: make([]*private, cfg.Partitions), pause: cfg.Sharing.Pause}
}

// Open implements [Server].
func (s *sharing) Open(ctx context.Context, partition int, from uint64) (Consumer, uint64, error) {
	if l, behind := s.join(ctx, partition, from); l != nil {
		return l, behind, nil
	}
	c, behind, err := s.Server.Open(ctx, partition, from)
	if err != nil {
		return nil, 0, err //nolint:wrapcheck // it says what was tried.
	}
	p := &private{Consumer: c, sharing: s, partition: partition, told: progress{from - 1, behind}, last: from - 1, behind: behind, anew: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[partition] = p
	s.considerLocked()
	return p, behind, nil
}

// considerLocked begins a gathering when it is time for one.
func (s *sharing) considerLocked() {
	if s.gathering != nil || time.Now().Before(s.not) {
		return
	}
	var all, first, last uint64
	for i, p := range s.open {
		if p == nil || p.told.behind == 0 {
			return
		}
		all += p.told.behind
		if first, last = min(first, p.told.last), max(last, p.told.last); i == 0 {
			first = p.told.last
		}
	}
	if all < s.cfg.Sharing.Backlog || last-first > s.cfg.Sharing.Apart {
		return
	}
	g := &gathering{from: make([]uint64, len(s.open)), behind: make([]uint64, len(s.open)), decided: make(chan struct{})}
	g.expired = time.AfterFunc(s.cfg.Sharing.Gather, func() { s.decide(g, nil, nil, fmt.Errorf("not all partitions came within %s", s.cfg.Sharing.Gather)) })
	for i, p := range s.open {
		g.behind[i] = p.told.behind
		close(p.anew)
		s.open[i] = nil
	}
	s.gathering = g
}

// join joins the gathering, if there is one, and returns the partition's lane, or nil when it came to nothing.
func (s *sharing) join(ctx context.Context, partition int, from uint64) (c Consumer, behind uint64) {
	s.mu.Lock()
	g := s.gathering
	if g == nil || g.from[partition] != 0 {
		s.mu.Unlock()
		return nil, 0
	}
	g.from[partition] = from
	g.joined++
	last := g.joined == len(g.from)
	s.mu.Unlock()
	if last {
		s.share(ctx, g)
	}
	select {
	case <-g.decided:
	case <-ctx.Done():
		s.decide(g, nil, nil, fmt.Errorf("partition %d: %w", partition, context.Cause(ctx)))
		<-g.decided
	}
	if g.lanes == nil {
		return nil, 0
	}
	return g.lanes[partition], g.behind[partition]
}

// share opens the consumer of all.
func (s *sharing) share(ctx context.Context, g *gathering) {
	start := slices.Min(g.from)
	if apart := slices.Max(g.from) - start; apart > s.cfg.Sharing.Apart {
		s.decide(g, nil, nil, fmt.Errorf("partitions are %d messages apart", apart))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Sharing.Gather) // the partition needs time to do without
	defer cancel()
	c, err := s.OpenAll(ctx, start)
	if err != nil {
		s.decide(g, nil, nil, err)
		return
	}
	t, lanes := newTape(c, g.from, s.cfg, s.ended)
	s.decide(g, t, lanes, nil)
}

// decide says what became of g, if nobody did. A tape that comes too late is not used.
func (s *sharing) decide(g *gathering, t *tape, lanes []*lane, why error) {
	s.mu.Lock()
	first := s.gathering == g
	if first {
		s.decideLocked(g, t, lanes, why)
	}
	s.mu.Unlock()
	if !first && t != nil {
		_ = t.in.c.Close() // the server forgets it anyway
	}
}

func (s *sharing) decideLocked(g *gathering, t *tape, lanes []*lane, why error) {
	s.gathering = nil
	g.expired.Stop()
	if g.lanes = lanes; t == nil {
		s.restLocked(why)
	} else {
		s.metrics.shared.Set(1)
		s.log.Info("read all partitions through one consumer", zap.Uint64("from", slices.Min(g.from)))
	}
	close(g.decided)
}

// ended is told that a tape is over. Its sessions say nothing of why: they only go on with another consumer.
func (s *sharing) ended(t *tape) {
	s.metrics.shared.Set(0)
	if !errors.Is(t.why, errCaughtUp) && !errors.Is(t.why, errStalled) && !errors.Is(t.why, errLeft) {
		s.metrics.failed.Inc()
		s.log.Warn("read log: the consumer of all partitions failed", zap.Error(t.why))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restLocked(t.why)
}

// restLocked has nobody try again for a while.
func (s *sharing) restLocked(why error) {
	if errors.Is(why, errCaughtUp) {
		s.pause = s.cfg.Sharing.Pause
	}
	s.not = time.Now().Add(s.pause)
	s.log.Info("read each partition through a consumer of its own", zap.NamedError("why", why), zap.Duration("at_least_for", s.pause))
	if !errors.Is(why, errCaughtUp) {
		s.pause = min(2*s.pause, s.cfg.Sharing.MaxPause)
	}
}

// private is a partition's own consumer. It tells how far it is, and fails when the partition is to be read through another one.
type private struct {
	Consumer
	sharing      *sharing
	partition    int
	anew         chan struct{} // closed when the partition is to be opened again
	told         progress      // guarded by sharing.mu
	last, behind uint64        // its reader's
}

// progress is of a private consumer: the sequence of the message sent last, or the one before it begins, and how many were behind it.
type progress struct{ last, behind uint64 }

var errGather = &anewError{errors.New("all partitions are behind")}

// Ask implements [Consumer].
func (p *private) Ask(pull, messages int) error {
	p.sharing.mu.Lock()
	p.told = progress{p.last, p.behind}
	p.sharing.considerLocked()
	p.sharing.mu.Unlock()
	if p.over() {
		return errGather
	}
	return p.Consumer.Ask(pull, messages) //nolint:wrapcheck // it says what was asked for.
}

func (p *private) over() bool {
	select {
	case <-p.anew:
		return true
	default:
		return false
	}
}

// Ready implements [Consumer].
func (p *private) Ready() (Delivery, bool, error) {
	if p.over() {
		return Delivery{}, false, errGather
	}
	d, ok, err := p.Consumer.Ready()
	if ok {
		p.note(&d)
	}
	return d, ok, err //nolint:wrapcheck // the session says what it waited for.
}

// Receive implements [Consumer]. One that waits when it is to end learns of it afterwards: there is nothing behind it, and then
// nobody gathers. So it tells how far it is before it waits: it asked for what it waits for when it was still behind.
func (p *private) Receive(ctx context.Context) (Delivery, error) {
	p.sharing.mu.Lock()
	p.told = progress{p.last, p.behind}
	p.sharing.mu.Unlock()
	d, err := p.Consumer.Receive(ctx)
	if err == nil {
		p.note(&d)
	}
	return d, err //nolint:wrapcheck // the session says what it waited for.
}

func (p *private) note(d *Delivery) {
	if d.Place > 0 {
		p.last, p.behind = d.Message.Sequence, d.Behind
	}
}

// Close implements [Consumer].
func (p *private) Close() error {
	p.sharing.mu.Lock()
	if p.sharing.open[p.partition] == p {
		p.sharing.open[p.partition] = nil
	}
	p.sharing.mu.Unlock()
	return p.Consumer.Close() //nolint:wrapcheck // joined to the session's error.
}
