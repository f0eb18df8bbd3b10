package partition_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

func (r *replica) Commit(ctx context.Context, b *batcher.Batch) error {
	err := r.arrive(ctx, "commit")
	if err == nil && r.sure {
		<-time.After(r.took)
	} else if err == nil {
		select {
		case <-time.After(r.took):
			err = r.connected(ctx)
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	var classified *batcher.Error
	switch {
	case errors.As(err, &classified):
		return classified
	case err != nil:
		return &batcher.Error{Class: batcher.Again, Number: 2006, Err: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	row := &r.rows[b.Partition]
	switch {
	case row.owner != r.name || row.epoch != b.Epoch:
		return &batcher.Error{Class: batcher.Lost, Err: errors.New("another epoch")}
	case row.position != b.After:
		return &batcher.Error{Class: batcher.Moved, Err: fmt.Errorf("position is %d, not %d", row.position, b.After)}
	}
	refused := map[uint64]wire.Poison{}
	for _, ev := range b.Events {
		if ev.Poison == nil && slices.Contains(r.stale, ev.Message.Sequence) {
			refused[ev.Message.Sequence] = wire.Poison{Code: wire.CodeAttempt, Reason: "attempt is over"}
		}
	}
	if len(refused) > 0 {
		return &batcher.Error{Class: batcher.Refused, Refused: refused, Err: errors.New("attempt is over")}
	}
	for _, ev := range b.Events {
		if ev.Poison != nil {
			continue
		}
		row.applied, row.writers = append(row.applied, ev.Message.Sequence), append(row.writers, r.name)
	}
	row.position = b.Last()
	return nil
}

// Put takes letters of refused events only: nothing else here is poison.
func (r *replica) Put(ctx context.Context, events []*wire.Event) error {
	if err := r.arrive(ctx, "put"); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range events {
		if seq := ev.Message.Sequence; !slices.Contains(r.stale, seq) || r.rows[ev.Partition].position >= seq {
			return fmt.Errorf("event %d is not to be buried, or passed already", seq)
		}
		r.graves[ev.Message.Sequence]++
	}
	if r.buried != nil {
		r.buried()
	}
	return nil
}
