package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/pkg/client"
)

// outcomeOf is what err tells of a write; Open is that it may not tell that.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Acked
	case errors.Is(err, client.ErrOutcomeUnknown):
		return Unknown
	case errors.Is(err, client.ErrNotCommitted):
		return Acked // by the log: it will be committed
	case errors.Is(err, client.ErrUnavailable), errors.Is(err, client.ErrBackpressure), errors.Is(err, client.ErrClosed),
		errors.Is(err, context.DeadlineExceeded):
		return Refused
	default:
		return Open
	}
}

// call makes the call that writes the unit and notes what it was told. latest is whether LoadLatest shows it.
func (p *pending) call(lane string, latest bool, do func(ctx context.Context) error) Outcome {
	w := p.w
	u := w.ledger.Begin(w.run.id, Unit{Lane: lane, Life: w.life, Fenced: lane == w.run.id}, p.rows, p.events...)
	if u.No != p.no {
		panic("assertion: a run is written by one worker")
	}
	limit := callLimit
	if w.draw.IntN(10) == 0 { // a caller that is in a hurry
		limit = 20*time.Millisecond + time.Duration(w.draw.Int64N(int64(time.Second)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := do(ctx)
	o := outcomeOf(err)
	if o == Open {
		w.fail(fmt.Errorf("unit %d of %s: %w", u.No, w.run.id, err))
		o = Unknown
	}
	w.ledger.Settle(u, o)
	if o == Acked && latest {
		w.run.acked.Store(int64(u.No))
	}
	if o != Refused && p.first >= 0 && w.attempt < 0 {
		w.attempt = p.first
	}
	return o
}
