package partition

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// keepUp makes this replica one of those that share in the partitions, renews the leases of all terms, and, when intake ends, takes its
// presence back at once: others may then take what it releases. gone is closed when that is done, or was tried. It goes on renewing
// until ctx ends.
func (s *Set) keepUp(ctx, intake context.Context, gone chan<- struct{}) {
	away := s.cfg.pauses()
	for intake.Err() == nil {
		// It is not cut off by the end of intake: what it says would come after what takes it back, perhaps.
		saying, stop := lingering(intake)
		err := s.renew(saying, s.cfg.Lease/3, true)
		stop()
		next := s.cfg.Lease / 3
		switch {
		case s.isJoined():
		case err == nil:
			close(s.joined)
			s.deps.Tell()
		default:
			s.excuse(err)
			next = away.NextBackOff()
		}
		pause(intake, next)
	}
	if s.renew(ctx, min(s.cfg.Lease/3, releaseWait), false) == nil {
		s.deps.Tell()
	}
	close(gone)
	s.every(ctx, s.cfg.Lease/3, func(ctx context.Context) { _ = s.renew(ctx, s.cfg.Lease/3, false) })
}

func (s *Set) isJoined() bool {
	select {
	case <-s.joined:
		return true
	default:
		return false
	}
}

// renew extends the leases of all terms, ends those that are no longer ours, and says or takes back that this replica is there. An error
// is logged.
func (s *Set) renew(ctx context.Context, limit time.Duration, present bool) error {
	renewing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var terms []Term
	for _, w := range s.workers {
		if t, ok := w.term(); ok {
			terms = append(terms, t)
		}
	}
	lost, err := s.deps.Leases.Renew(renewing, terms, present)
	if err != nil {
		if ctx.Err() == nil {
			// Nothing is known. Whoever takes a lease that ran out fences our commits.
			s.deps.Logger.Warn("leases were not renewed", zap.Int("leases", len(terms)), zap.Error(err))
		}
		return fmt.Errorf("join replicas: %w", err)
	}
	for _, t := range lost {
		s.workers[t.Partition].lose(t)
	}
	return nil
}

// alone is whether no other replica shares in the partitions, as far as is known.
func (s *Set) alone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sharing.Replicas) <= 1
}
