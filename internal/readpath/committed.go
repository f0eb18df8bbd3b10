package readpath

import (
	"context"
	"fmt"

	"github.com/persistd/persistd/internal/wire"
)

// Write is an acknowledged event whose commit somebody waits for.
type Write struct {
	// ID is the key that it was published under: a run's id, or a checkpoint's.
	ID string
	// Sequence is the one that the log acknowledged it with.
	Sequence uint64
	// Keys are its idempotency keys and ContentHash its hash; without keys it applies whenever it is committed.
	Keys        []string
	ContentHash [32]byte
}

// Committed blocks until w is in MySQL or is known never to be (then it returns why: the reason of its dead letter, or a code of
// wire's Rejected constants), or ctx ends.
func (r *Reader) Committed(ctx context.Context, namespace string, w Write) (*wire.Poison, error) {
	if err := r.check(namespace, w.ID); err != nil {
		return nil, err
	}
	p := wire.Partition(namespace, w.ID, r.Partitions)
	r.urge(p, w.Sequence)
	out, err := r.await(ctx, p, w.Sequence)
	if err != nil {
		return nil, err
	}
	why := out.Rejected
	if !out.Known {
		why, err = r.deadLetter(ctx, p, w.Sequence)
	}
	if why != nil || err != nil || len(w.Keys) == 0 {
		return why, err
	}
	used, err := r.History.Keys(ctx, w.Keys)
	if err != nil {
		return nil, err
	}
	return w.verdict(used), nil
}

// deadLetter is why an event is one that the position has passed without anybody telling how; nil when it is none.
func (r *Reader) deadLetter(ctx context.Context, p int, seq uint64) (*wire.Poison, error) {
	why, found, err := r.Letters.DeadLetter(ctx, p, seq)
	if err != nil {
		return nil, fmt.Errorf("look for dead letter: %w", err)
	}
	if !found {
		return nil, nil //nolint:nilnil // no reason, no error: it was applied.
	}
	return &why, nil
}

// verdict is what became of w, which the position has passed, by those of its keys that are used. The commit decided it by the same
// rules, and left no other trace: all keys are w's own, or none is.
func (w *Write) verdict(used []Key) *wire.Poison {
	var other string
	for _, k := range used {
		switch {
		case k.Sequence == w.Sequence:
			return nil
		case k.ContentHash != w.ContentHash:
			other = k.Key
		}
	}
	switch {
	case other != "":
		return &wire.Poison{Code: wire.RejectedDuplicate, Reason: fmt.Sprintf("idempotency key %.300q was used before, with other content", other)}
	case len(used) == 0:
		return &wire.Poison{Code: wire.RejectedUnknown, Reason: "the idempotency keys are no longer kept: what became of the event cannot be told any more"}
	default:
		return nil // the same was saved before
	}
}
