package load

import (
	"context"
	"time"
)

// sleeper sleeps until a time, or somewhat less than it may take to see that ctx has ended.
type sleeper func(ctx context.Context, until time.Time)

// total is how many operations arrive.
func (l *loop) total() int { return int(l.Rate * (l.WarmUp + l.For).Seconds()) }

// schedule has the operations arrive. It never waits for a worker.
func (l *loop) schedule(ctx context.Context, begin time.Time, sleep sleeper) {
	defer close(l.arrivals)
	defer pinned()()
	total := l.total()
	for i := range total {
		at := begin.Add(time.Duration(float64(i) / l.Rate * float64(time.Second)))
		for time.Now().Before(at) {
			if ctx.Err() != nil {
				l.missed.Add(int64(total - i))
				return
			}
			sleep(ctx, at)
		}
		l.arrivals <- at // there is room for all
	}
}

// arrival is the open loop's next beginning: when it was meant to be.
func (l *loop) arrival(ctx context.Context) (time.Time, bool) {
	at, ok := <-l.arrivals
	if ok && ctx.Err() != nil {
		l.missed.Add(1)
		for range l.arrivals {
			l.missed.Add(1)
		}
		return at, false
	}
	return at, ok
}
