package batcher

import "time"

const (
	// restAfter is how many transactions of several batches fail in a row before none is tried for a while.
	restAfter        = 3
	minRest, maxRest = 10 * time.Second, 5 * time.Minute
)

// rest is when batches are not joined, as what makes their transactions fail seems to last: more connections than the database's user may
// have, a proxy that refuses a statement. Each batch would pay for one that fails, and then be committed alone all the same.
//
//	three failures in a row         → a rest of 10 s
//	another, first thing afterwards → a rest of twice that, up to 5 min
//	one that is committed           → as if nothing had been
//
// Failures that are a batch's own, as stale writes, count as well: where nothing else comes, to join them does not pay either.
type rest struct {
	failures int // in a row
	length   time.Duration
	until    time.Time
}

// now is whether it is one.
func (r *rest) now() bool { return r.length > 0 && time.Now().Before(r.until) }

// note is told what became of a transaction, and says how long a rest begins with that; 0 for none.
func (r *rest) note(err error) time.Duration {
	switch {
	case err == nil:
		*r = rest{}
		return 0
	case r.now(): // one that ran beside the last
		return 0
	}
	if r.failures++; r.failures < restAfter {
		return 0
	}
	r.length = min(max(minRest, 2*r.length), maxRest)
	r.until = time.Now().Add(r.length)
	return r.length
}
