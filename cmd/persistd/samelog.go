package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/internal/wire"
)

// The log is looked at every watchLogEvery, and reads trust a look for sameLogFor: for so long a replica may go on answering reads of a log
// that is no more.
const (
	watchLogEvery = 2 * time.Second
	sameLogFor    = 2 * watchLogEvery
)

// sameLog is the log's tail, and sees to it that it is the tail of the log that the daemon was started on. One that was deleted and made again
// under its name counts its sequences from 1: its events would be taken for ones that are known to be committed. Who applies partitions
// notices by reading them.
//
// A replica that was paused for longer than sameLogFor looks before it answers what was asked meanwhile.
type sameLog struct {
	tail readpath.Tail
	look func(context.Context) error // fails with stream.ErrOther when it is another one

	looking *semaphore.Weighted // of one: whoever has it looks
	mu      sync.Mutex          // guards seen; nothing blocks while it is held
	seen    time.Time           // when the last look began that found the same log
}

func newSameLog(tail readpath.Tail, look func(context.Context) error) *sameLog {
	return &sameLog{tail: tail, look: look, looking: semaphore.NewWeighted(1), seen: time.Now()} // it was just opened
}

// watch looks until ctx ends, or until it is another log: then it says so and returns.
func (l *sameLog) watch(ctx context.Context, fail func(error)) {
	for {
		select {
		case <-time.After(watchLogEvery):
		case <-ctx.Done():
			return
		}
		if err := l.check(ctx, watchLogEvery/2); errors.Is(err, stream.ErrOther) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			fail(err) // not found may be a cluster that starts; readiness says so
			return
		}
	}
}

// check is nil when the log was seen within the time, or is seen now.
func (l *sameLog) check(ctx context.Context, within time.Duration) error {
	if l.age() < within {
		return nil
	}
	if err := l.looking.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer l.looking.Release(1)
	began, age := time.Now(), l.age()
	if age < within { // another looked meanwhile
		return nil
	}
	if err := l.look(ctx); err != nil {
		return fmt.Errorf("look whether the log is the same: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = began
	return nil
}

func (l *sameLog) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.seen)
}

// Each method reads and then checks: what was read of another log is not used.

// Tail implements [readpath.Tail].
func (l *sameLog) Tail(ctx context.Context, p int, namespace, kind, id string, after uint64, visit func(*wire.Event)) (uint64, error) {
	last, err := l.tail.Tail(ctx, p, namespace, kind, id, after, visit)
	return last, cmp.Or(err, l.check(ctx, sameLogFor))
}

// Last implements [readpath.Tail].
func (l *sameLog) Last(ctx context.Context, p int, namespace, kind, id string) (uint64, error) {
	seq, err := l.tail.Last(ctx, p, namespace, kind, id)
	return seq, cmp.Or(err, l.check(ctx, sameLogFor))
}

// LastAttempt implements [readpath.Tail].
func (l *sameLog) LastAttempt(ctx context.Context, p int, namespace, runID string) (attempt uint32, sequence uint64, err error) {
	attempt, sequence, err = l.tail.LastAttempt(ctx, p, namespace, runID)
	return attempt, sequence, cmp.Or(err, l.check(ctx, sameLogFor))
}
