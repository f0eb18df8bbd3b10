package load

import (
	"context"
	"time"
)

// RunVirtually is Run with a sleep that package testing/synctest knows of.
func RunVirtually(ctx context.Context, o Options, op Op) (Result, error) {
	return run(ctx, o, func(_ context.Context, until time.Time) { <-time.After(min(time.Until(until), 20*time.Millisecond)) }, op)
}
