package main

import (
	"context"
	"sync"
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

// whileWaiting runs save, which waits for a commit that does not come, and ends its time when it waits: when what it saves is in the log, and it has
// been told so, and asks for more.
func (s *stack) whileWaiting(save func(ctx context.Context) error) error {
	s.t.Helper()
	asks, err := s.nc.SubscribeSync("persistd.read.default.committed")
	require.NoError(s.t, err)
	require.NoError(s.t, s.nc.Flush())
	ctx := newDeadline()
	saved := make(chan error, 1)
	go func() { saved <- save(ctx) }()
	_, err = asks.NextMsg(2 * time.Minute)
	ctx.passes()
	ended := <-saved
	require.NoError(s.t, err, "it does not ask: %v", ended)
	require.NoError(s.t, asks.Unsubscribe())
	return ended
}
