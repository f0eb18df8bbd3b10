package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// intake takes in what a consumer sends, one pull after the other, and sees that nothing is missing.
type intake struct {
	c     Consumer
	batch int    // messages of a pull
	pull  int    // the number of the open pull
	left  int    // messages that the open pull may still bring
	seen  uint64 // the place of the message received last: the consumer leaves none out
}

// ask opens a pull where none is open.
func (in *intake) ask() error {
	if in.left > 0 {
		return nil
	}
	in.pull, in.left = in.pull+1, in.batch
	return in.c.Ask(in.pull, in.left) //nolint:wrapcheck // it says what was asked for.
}

// receive waits for a message, for a silence longer than any between heartbeats, or for the end of ctx.
func (in *intake) receive(ctx context.Context, silence time.Duration) (Delivery, error) {
	d, ok, err := in.ready()
	if err == nil && !ok {
		d, ok, err = in.within(ctx, silence)
	}
	switch {
	case err != nil:
		return d, err
	case ctx.Err() != nil:
		return d, ctx.Err() //nolint:wrapcheck // Read returns the cause.
	case !ok:
		return d, silent(silence)
	}
	return d, nil
}

func silent(silence time.Duration) error { return fmt.Errorf("no sign of the server for %s", silence) }

// ready is what has come already, without a timer: one for each message would cost as much as decoding it.
func (in *intake) ready() (d Delivery, ok bool, err error) {
	if d, ok, err = in.c.Ready(); err != nil {
		return d, false, fmt.Errorf("receive: %w", err)
	}
	return d, ok, nil
}

// within is what comes within wait, if anything does before ctx ends.
func (in *intake) within(ctx context.Context, wait time.Duration) (d Delivery, ok bool, err error) {
	waited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	switch d, err = in.c.Receive(waited); {
	case err == nil:
		return d, true, nil
	// An error may have a deadline in it that is not this one.
	case ctx.Err() != nil, waited.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return d, false, nil
	default:
		return d, false, fmt.Errorf("receive: %w", err)
	}
}

// check says whether what was received is a message, and fails when another one is missing before it, or the consumer has failed.
func (in *intake) check(d *Delivery) (message bool, err error) {
	if d.Place == 0 {
		return false, in.status(d.Status)
	}
	if d.Place != in.seen+1 {
		return false, fmt.Errorf("message %d of the consumer came after its %d", d.Place, in.seen)
	}
	in.seen, in.left = d.Place, in.left-1
	return true, nil
}

// status reads what the server says about a pull.
func (in *intake) status(st Status) error {
	switch {
	case st.Code == "100":
		// A heartbeat tells what was sent so far: what is missing now, with none behind it to show the gap, was lost on the way.
		if st.Sent > in.seen {
			return fmt.Errorf("message %d of the consumer is missing after its %d", st.Sent, in.seen)
		}
		return nil
	case st.Pull != in.pull:
		return nil // the last word on an earlier pull
	case st.Code == "404", st.Code == "408",
		st.Code == "409" && (st.Text == "Message Size Exceeds MaxBytes" || st.Text == "Batch Completed"):
		if st.Text == "Message Size Exceeds MaxBytes" && in.left == in.batch {
			return errors.New("the next message is larger than the read-ahead: raise it to what max_payload was when it was published")
		}
		in.left = 0
		return nil
	default:
		return fmt.Errorf("the server answered %s %s", st.Code, st.Text)
	}
}
