package batcher

import "github.com/persistd/persistd/internal/wire"

// Waits is how much b counts as added and not in a batch yet.
func (b *Batcher) Waits() (rows, bytes int64) { return b.waits.rows.Load(), b.waits.bytes.Load() }

// Gather makes a batch of what b has queued, beside others with so much.
func (b *Batcher) Gather(rows, bytes int) *Batch {
	first := <-b.queue
	b.waits.sub(first)
	batch := b.part([]*wire.Event{first})
	b.gather(batch, rows, bytes)
	return batch
}
