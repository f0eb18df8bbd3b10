package readpath

import (
	"context"

	"github.com/persistd/persistd/internal/wire"
)

// LoadCheckpoint returns the named checkpoint with every write in it that was acknowledged before the call (I6), or nil when there is
// none. A transaction of a run that saves it is acknowledged when it is committed, and is in the row then.
func (r *Reader) LoadCheckpoint(ctx context.Context, namespace, id string) (*wire.CheckpointRecord, error) {
	if err := r.check(namespace, id); err != nil {
		return nil, err
	}
	p := wire.Partition(namespace, id, r.Partitions)
	var (
		tail checkpointTail
		row  *wire.CheckpointRecord
	)
	pos, err := r.read(p, "checkpoint", func(after uint64) (uint64, error) {
		tail = checkpointTail{now: saved{id: id}}
		return r.Tail.Tail(ctx, p, namespace, wire.KindCheckpoint, id, after, tail.see)
	}, func() (pos uint64, err error) {
		row, pos, err = r.Rows.Checkpoint(ctx, p, id)
		return pos, err
	})
	if err != nil {
		return nil, err
	}
	return tail.all().later(row, pos), nil
}

// saved is what a checkpoint's tail writes under its name last: that is what counts, whatever the position is.
type saved struct {
	id   string
	last *wire.CheckpointRecord
}

// checkpointTail is what is known of a checkpoint's tail.
type checkpointTail = transactions[saved, *saved]

func (s *saved) clone() saved { return *s }

// take sees the next event. Its ops with other ids are other checkpoints'.
func (s *saved) take(ev *wire.Event, undecided bool) {
	for i := range ev.Ops {
		if op := &ev.Ops[i]; !undecided && op.Type == wire.OpCheckpoint && op.ID == s.id {
			s.last = &wire.CheckpointRecord{Step: op.Step, State: op.State, Sequence: ev.Message.Sequence, SavedAt: ev.Message.Logged}
		}
	}
}

func (s *saved) seal(first uint64, m *wire.Message) {
	if s.last != nil && s.last.Sequence >= first {
		s.last.Sequence, s.last.SavedAt = m.Sequence, m.Logged
	}
}

// later is the later of row and the last write after position. A run's transaction may have written the row, in a partition that is
// further on than this one, so the row can be the later one; a row of sequence 0 was there before the log was.
func (s *saved) later(row *wire.CheckpointRecord, position uint64) *wire.CheckpointRecord {
	if s.last != nil && s.last.Sequence > position && (row == nil || s.last.Sequence > row.Sequence) {
		return s.last
	}
	return row
}
