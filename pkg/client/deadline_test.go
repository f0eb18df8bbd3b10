package client_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// deadline is a ctx whose time is over when the test says so.
type deadline struct {
	over   chan struct{}
	passes func()
}

var _ context.Context = (*deadline)(nil)

func newDeadline() *deadline {
	d := &deadline{over: make(chan struct{})}
	d.passes = sync.OnceFunc(func() { close(d.over) })
	return d
}

func (*deadline) Deadline() (at time.Time, ok bool) { return at, false }

func (*deadline) Value(any) any { return nil }

func (d *deadline) Done() <-chan struct{} { return d.over }

func (d *deadline) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// overWhen is what op returns when its time is over as soon as it is that far: a time that is just long enough on one machine is over
// before anything has happened on another.
func overWhen(t *testing.T, thatFar func() bool, op func(ctx context.Context) error) error {
	t.Helper()
	ctx := newDeadline()
	defer ctx.passes()
	done := make(chan error, 1)
	go func() { done <- op(ctx) }()
	require.Eventually(t, thatFar, eventually, poll)
	ctx.passes()
	return requireSoon(t, done)
}
