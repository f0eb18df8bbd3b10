package client

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// calls are the calls of a store that are under way, so that closing it can wait for them.
//
//	open ──close──▶ closing: nobody enters, those who wait for news are sent home, the others finish ──timeout──▶ all are ended
type calls struct {
	mu      sync.Mutex // guards the rest; nothing blocks while it is held
	closed  bool
	running map[*running]struct{}
	idle    chan struct{} // made by close; closed when the last one left
}

// running is a call.
type running struct {
	end context.CancelCauseFunc
	// waits says that it may be ended at any time.
	waits bool
}

// enter begins a call, which leave ends. Its ctx ends with the cause [ErrClosed] when the store does not wait for it any longer.
func (c *calls) enter(ctx context.Context, waits bool) (_ context.Context, leave func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	ctx, end := context.WithCancelCause(ctx)
	r := &running{end, waits}
	if c.running == nil {
		c.running = map[*running]struct{}{}
	}
	c.running[r] = struct{}{}
	return ctx, func() { c.leave(r) }, nil
}

func (c *calls) leave(r *running) {
	r.end(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, r)
	c.tellLocked()
}

// tellLocked wakes close when nobody is left.
func (c *calls) tellLocked() {
	if c.closed && len(c.running) == 0 {
		select {
		case <-c.idle:
		default:
			close(c.idle)
		}
	}
}

// endLocked ends the calls that are under way, or those of them that wait, and returns how many.
func (c *calls) endLocked(waiting bool) (n int) {
	for r := range c.running {
		if r.waits || !waiting {
			r.end(ErrClosed)
			n++
		}
	}
	return n
}

// close lets nobody enter any more and waits until all have left, of whom it ends, after timeout, those that are still there. It is called
// once.
func (c *calls) close(timeout time.Duration) error {
	c.mu.Lock()
	c.closed, c.idle = true, make(chan struct{})
	c.endLocked(true)
	c.tellLocked()
	c.mu.Unlock()

	over := time.NewTimer(timeout)
	defer over.Stop()
	select {
	case <-c.idle:
		return nil
	case <-over.C:
	}
	c.mu.Lock()
	n := c.endLocked(false)
	c.mu.Unlock()
	<-c.idle // their ctx has ended, and nothing outlasts its ctx
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d calls were still under way after %s, and were ended", n, timeout)
}
