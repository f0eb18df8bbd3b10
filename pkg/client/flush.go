package client

import (
	"context"
	"errors"
	"fmt"
)

// flush waits until all that was submitted before is over, and takes the errors of async steps.
func (p *publisher) flush(ctx context.Context) error {
	p.mu.Lock()
	last := p.last
	p.mu.Unlock()
	for {
		pub := p.oldest(last)
		if pub == nil {
			return p.takeErrors()
		}
		select {
		case <-pub.done:
		case <-ctx.Done():
			n, cause := p.unsettled(last)
			err := fmt.Errorf("%d steps are not acknowledged: %w", n, ctx.Err())
			f := &fault{kind: ErrUnavailable, err: err}
			if cause != nil {
				f.err, f.hint = fmt.Errorf("%w: %w", err, cause), asFault(cause).hint
			}
			return errors.Join(f, p.takeErrors())
		}
	}
}

// oldest is the first of what is not over, or nil when all up to the order last is.
func (p *publisher) oldest(last uint64) *publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.pending.Front()
	if first == nil {
		return nil
	}
	pub := first.Value.(*publication) //nolint:forcetypeassert // the list holds nothing else.
	if pub.order > last {
		return nil
	}
	return pub
}

// unsettled is how many up to the order last are not over, and why.
func (p *publisher) unsettled(last uint64) (n int, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.pending.Front(); e != nil; e = e.Next() {
		if pub := e.Value.(*publication); pub.order > last { //nolint:forcetypeassert // as above.
			break
		}
		n++
	}
	return n, p.trouble
}

func (p *publisher) takeErrors() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	errs, dropped := p.errs, p.dropped
	p.errs, p.dropped = nil, 0
	if dropped > 0 {
		errs = append(errs, fmt.Errorf("and %d more steps were given up", dropped))
	}
	return errors.Join(errs...)
}

// waitRun waits until what is queued for a run is over, whatever its outcome.
func (p *publisher) waitRun(ctx context.Context, subject string) error {
	p.mu.Lock()
	var last *publication
	if run := p.runs[subject]; len(run) > 0 {
		last = run[len(run)-1]
	}
	p.mu.Unlock()
	if last == nil {
		return nil
	}
	select {
	case <-last.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the run's own queued steps: %w", ctx.Err())
	}
}

// close takes no more, flushes until ctx ends, gives up what is left then, and ends the goroutines. What is given up is not lost
// unnoticed: its callers get [ErrClosed], and the error counts it.
func (p *publisher) close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	close(p.closing)
	err := p.flush(ctx)

	p.mu.Lock()
	p.ended = true
	for e := p.pending.Front(); e != nil; {
		next := e.Next()
		pub := e.Value.(*publication) //nolint:forcetypeassert // as above.
		if pub.phase != settled {
			pub.async = false // counted by flush, and nothing to be handed over
			var gone error = &fault{kind: ErrClosed, err: pub.cause}
			if pub.maybeLogged() {
				gone = unknownFault(pub.cause, ErrClosed)
			}
			p.settleLocked(pub, gone)
		}
		e = next
	}
	p.mu.Unlock()
	close(p.handing)
	close(p.stop)
	p.goroutines.Wait()
	p.nc.RemoveStatusListener(p.status)
	return err
}
