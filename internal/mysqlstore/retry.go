package mysqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// retries is how often a transaction that was in another's way is tried again. Each time at least one of those who are in each other's way
// gets through, so it takes many of them, all the time, to need as many.
const retries = 10

// retry does what a deadlock, a lock that was not to be had, or another's claim undid once more, after a pause of some milliseconds that
// grows. What op did must be undone when it returns such an error. It ends with ctx at the latest.
func retry(ctx context.Context, op func() error) error {
	pauses := backoff.NewExponentialBackOff(backoff.WithInitialInterval(5*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(250*time.Millisecond), backoff.WithMaxElapsedTime(0))
	var last error
	err := backoff.Retry(func() error {
		if last = op(); last != nil && !inTheWay(last) {
			return backoff.Permanent(last)
		}
		return last
	}, backoff.WithContext(backoff.WithMaxRetries(pauses, retries), ctx))
	if err != nil && last != nil {
		return last // rather than that ctx ended while it paused
	}
	return err
}

// inTheWay is whether err says that others were, and nothing else is wrong.
func inTheWay(err error) bool {
	if errors.Is(err, errFaster) {
		return true
	}
	n := Classify(err).Number
	return n == lockTimeout || n == deadlock
}

const (
	lockTimeout = 1205
	deadlock    = 1213
)
