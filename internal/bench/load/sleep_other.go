//go:build !linux

package load

import (
	"context"
	"time"
)

// sleepUntil is as exact as the system's timers are.
func sleepUntil(ctx context.Context, until time.Time) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func pinned() (unpin func()) { return func() {} }
