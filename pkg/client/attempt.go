package client

import (
	"context"
	"fmt"
	"math"

	"github.com/persistd/persistd/internal/wire"
)

type attemptKey struct{}

// ContextWithAttempt returns a ctx whose writes are of the run's attempt n, from 1 on, whatever [Store.BeginAttempt] or [WithAttempt] say;
// 0 is none. An attempt that is newer than the run's begins with its first write.
func ContextWithAttempt(ctx context.Context, n int) context.Context {
	return context.WithValue(ctx, attemptKey{}, n)
}

func (s *store[S]) BeginAttempt(ctx context.Context, runID string) (int, error) {
	ctx, cancel, err := s.enter(ctx)
	defer cancel()
	if err == nil {
		err = checkRun(runID)
	}
	var n uint32
	if err == nil {
		n, err = s.backend.begin(ctx, runID)
	}
	if err != nil {
		return 0, newError(opBegin, runID, 0, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun[runID] = max(s.begun[runID], n)
	return int(n), nil
}

// attemptOf is the attempt that w is of.
func (s *store[S]) attemptOf(ctx context.Context, w *write) (uint32, error) {
	if w.kind != wire.KindRun {
		return 0, nil
	}
	n, ok := ctx.Value(attemptKey{}).(int)
	if !ok {
		s.mu.Lock()
		begun := s.begun[w.id]
		s.mu.Unlock()
		if begun > 0 {
			return begun, nil
		}
		n = s.attempt
	}
	if n < 0 || n > math.MaxInt32 {
		return 0, &fault{kind: ErrInvalidOption, err: fmt.Errorf("attempt is %d, not from 0 to %d", n, math.MaxInt32)}
	}
	return uint32(n), nil
}
