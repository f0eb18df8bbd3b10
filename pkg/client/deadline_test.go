package client_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// overWhen is what op returns when its time is over as soon as it is that far: a time that is just long enough on one machine is over
// before anything has happened on another.
func overWhen(t *testing.T, thatFar func() bool, op func(ctx context.Context) error) error {
	t.Helper()
	ctx := stacktest.NewDeadline()
	defer ctx.Passes()
	done := make(chan error, 1)
	go func() { done <- op(ctx) }()
	require.Eventually(t, thatFar, eventually, poll)
	ctx.Passes()
	return requireSoon(t, done)
}
