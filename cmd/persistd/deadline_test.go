package main

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// whileWaiting runs save, which waits for a commit that does not come, and ends its time when it waits: when what it saves is in the log, and it has
// been told so, and asks for more.
func (s *stack) whileWaiting(save func(ctx context.Context) error) error {
	s.t.Helper()
	asks, err := s.nc.SubscribeSync("persistd.read.default.committed")
	require.NoError(s.t, err)
	require.NoError(s.t, s.nc.Flush())
	ctx := stacktest.NewDeadline()
	saved := make(chan error, 1)
	go func() { saved <- save(ctx) }()
	_, err = asks.NextMsg(2 * time.Minute)
	ctx.Passes()
	ended := <-saved
	require.NoError(s.t, err, "it does not ask: %v", ended)
	require.NoError(s.t, asks.Unsubscribe())
	return ended
}
