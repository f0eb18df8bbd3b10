package batcher

// Waits is how much b counts as added and not in a batch yet.
func (b *Batcher) Waits() (rows, bytes int64) { return b.waits.rows.Load(), b.waits.bytes.Load() }
