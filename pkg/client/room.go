package client

import (
	"context"
	"sync"
)

// room bounds what is in flight, in number and bytes. Who does not fit waits, first come, first served: a small step does not
// pass a large one, which would otherwise wait for ever.
type room struct {
	maxCount, maxBytes int

	mu      sync.Mutex // guards the rest
	count   int
	bytes   int
	waiters []*waiter
}

type waiter struct {
	bytes   int
	granted chan struct{}
}

// acquire takes room for one step of n bytes, as much of them as there is room for at all. It blocks until there is, ctx ends or
// closing is closed; only when the error is nil is anything taken.
func (r *room) acquire(ctx context.Context, n int, closing <-chan struct{}) error {
	n = min(n, r.maxBytes)
	r.mu.Lock()
	if len(r.waiters) == 0 && r.fitsLocked(n) {
		r.count, r.bytes = r.count+1, r.bytes+n
		r.mu.Unlock()
		return nil
	}
	w := &waiter{bytes: n, granted: make(chan struct{})}
	r.waiters = append(r.waiters, w)
	r.mu.Unlock()

	var err error
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-closing:
		err = ErrClosed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, other := range r.waiters {
		if other == w {
			r.waiters = append(r.waiters[:i], r.waiters[i+1:]...)
			r.grantLocked() // who waited behind it may fit
			return err
		}
	}
	// It was granted in the meantime: give it back.
	r.releaseLocked(n)
	return err
}

// release gives back what acquire took for n bytes.
func (r *room) release(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.releaseLocked(min(n, r.maxBytes))
}

func (r *room) releaseLocked(n int) {
	r.count, r.bytes = r.count-1, r.bytes-n
	r.grantLocked()
}

func (r *room) grantLocked() {
	for len(r.waiters) > 0 && r.fitsLocked(r.waiters[0].bytes) {
		w := r.waiters[0]
		r.waiters[0] = nil
		r.waiters = r.waiters[1:]
		r.count, r.bytes = r.count+1, r.bytes+w.bytes
		close(w.granted)
	}
}

func (r *room) fitsLocked(n int) bool { return r.count < r.maxCount && r.bytes+n <= r.maxBytes }
