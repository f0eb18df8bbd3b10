package simulation

import (
	"context"
	"errors"
	"time"
)

var errKilled = errors.New("killed")

// crash is SIGKILL. What is left of the process is taken down behind the curtain.
func (p *process) crash() {
	p.once.Do(func() {
		close(p.died)
		w := p.w
		w.takenDown.Go(func() {
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(errKilled)
			_ = p.set.Stop(ctx)
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over {
			w.counts.crashes++
			w.revive(p)
		}
	})
}

// revive starts the replica's next life after a while. Guarded by mu.
func (w *world) revive(p *process) {
	again := w.plan.again(newDice(w.seed, "revive", p.life))
	time.AfterFunc(again, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over && p.slot.current == p {
			p.slot.start()
		}
	})
}

// stop is SIGSTOP, for a time.
func (p *process) stop(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.continued != nil {
		return
	}
	ch := make(chan struct{})
	p.continued = ch
	time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.continued = nil
		close(ch)
	})
}

// terminate is SIGTERM: the process drains, and is then gone.
func (p *process) terminate(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := p.set.Stop(ctx)
	p.once.Do(func() { close(p.died) })
	return err
}
