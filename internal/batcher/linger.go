package batcher

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Urge says that somebody waits for the event with the sequence seq to be committed, whether it was added yet or not: what begins at it or
// before does not linger. It does not block, and holds until the position has passed seq; it cannot be taken back, and need not be, as all
// that it costs is a smaller batch. One of a sequence that the log does not have yet takes the lingering from all events up to it.
//
// Nobody needs to urge what is marked with [wire.HeaderUrgent].
func (b *Batcher) Urge(seq uint64) {
	for old := b.urged.upTo.Load(); old < seq; old = b.urged.upTo.Load() {
		if b.urged.upTo.CompareAndSwap(old, seq) {
			b.urged.ring()
			return
		}
	}
}

// linger waits until a batch that begins with first is to be committed. What waits with first grows meanwhile.
//
//	the last commit began Linger ago, or never    → at once: a step on an idle partition waits for nothing
//	somebody waits for first, or for one after it → at once, and as soon as that is so
//	a batch, or the queue, is full; Close         → the same: more would not make it larger, or will not come
//	else                                          → when Linger is over
//
// No place at the gate is held meanwhile. Dying here is dying before the commit: first is in the log.
func (b *Batcher) linger(ctx context.Context, first *wire.Event) error {
	rest := max(0, b.cfg.Linger) - time.Since(b.began)
	if rest <= 0 || !b.lingers(first) {
		return nil
	}
	over := time.NewTimer(rest)
	defer over.Stop()
	for b.lingers(first) {
		select {
		case <-over.C:
			return nil
		case <-b.urged.rung:
		case <-ctx.Done():
			return fmt.Errorf("wait for more to commit: %w", context.Cause(ctx))
		}
	}
	return nil
}

// lingers is whether what begins with first may wait for more.
func (b *Batcher) lingers(first *wire.Event) bool {
	return first.Message.Sequence > b.urged.upTo.Load() && !b.full()
}

// full is whether a whole batch waits, or as much as the queue takes.
func (b *Batcher) full() bool {
	return b.waits.rows.Load() >= int64(b.cfg.MaxRows) || b.waits.bytes.Load() >= int64(b.cfg.MaxBytes) || len(b.queue) == cap(b.queue)
}

// urgency is up to where nothing lingers.
type urgency struct {
	upTo atomic.Uint64
	rung chan struct{} // of one place: there is a reason to look again
}

func newUrgency() *urgency { return &urgency{rung: make(chan struct{}, 1)} }

// ring has whoever lingers look again. It comes after what there is to see.
func (u *urgency) ring() {
	select {
	case u.rung <- struct{}{}:
	default: // it will look for that
	}
}

// load is how much waits. Rows count as a batch counts them, but for an event without any, which is one here.
type load struct{ rows, bytes atomic.Int64 }

func (l *load) add(ev *wire.Event) { l.move(ev, 1) }
func (l *load) sub(ev *wire.Event) { l.move(ev, -1) }

func (l *load) move(ev *wire.Event, sign int64) {
	l.rows.Add(sign * int64(max(1, len(ev.Ops))))
	l.bytes.Add(sign * int64(ev.Size))
}
