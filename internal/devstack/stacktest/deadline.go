package stacktest

import (
	"context"
	"sync"
	"time"
)

// Deadline is a context whose time is over when the test says so, by Passes: a time that is just long enough on one machine is over before
// anything has happened on another. Its Err is then [context.DeadlineExceeded].
type Deadline struct {
	// Passes ends the time; once is enough.
	Passes func()

	over chan struct{}
}

var _ context.Context = (*Deadline)(nil)

// NewDeadline returns a context that has time.
func NewDeadline() *Deadline {
	d := &Deadline{over: make(chan struct{})}
	d.Passes = sync.OnceFunc(func() { close(d.over) })
	return d
}

// Deadline implements [context.Context]: nobody knows when.
func (*Deadline) Deadline() (at time.Time, ok bool) { return at, false }

// Value implements [context.Context]: there is none.
func (*Deadline) Value(any) any { return nil }

// Done implements [context.Context].
func (d *Deadline) Done() <-chan struct{} { return d.over }

// Err implements [context.Context].
func (d *Deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
