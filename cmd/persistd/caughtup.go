package main

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// progress says how far it is with what is applied again.
func (r *recovery) progress(ctx context.Context) {
	r.mu.Lock()
	parts := append([]recovering(nil), r.parts...)
	r.mu.Unlock()
	var left int64
	var behind, done []int
	for p, at := range parts {
		switch {
		case at.target == 0:
		case at.known >= at.target:
			done = append(done, p)
		case at.reread != nil: // another replica says it of its own
			if n, err := r.between(ctx, p, at.known, at.target); err == nil {
				left += n
				behind = append(behind, p)
			}
		}
	}
	r.left.Set(float64(left))
	r.mu.Lock()
	for _, p := range done {
		r.parts[p].target = 0
	}
	r.mu.Unlock()
	if len(done) > 0 {
		r.log.Info("events are applied again: caught up", zap.Ints("partitions", done))
	}
	if len(behind) > 0 {
		r.log.Info("events are applied again", zap.Ints("partitions", behind), zap.Int64("left", left))
	}
}

// knownTime is a field for t, or none where t is not known.
func knownTime(key string, t time.Time) zap.Field {
	if t.IsZero() {
		return zap.Skip()
	}
	return zap.Time(key, t)
}
