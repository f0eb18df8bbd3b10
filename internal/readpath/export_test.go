package readpath

// FallBehind has the next read of a key of p read in order: the row after the tail.
func (r *Reader) FallBehind(p int) { r.remember(p, false) }
