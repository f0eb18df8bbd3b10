package readpath

import (
	"context"

	"github.com/persistd/persistd/internal/wire"
)

// LoadLatest returns the step with the highest number of the run's newest attempt that has saved one, with every write in it that was
// acknowledged before the call (I6), or nil when the run has none.
func (r *Reader) LoadLatest(ctx context.Context, namespace, runID string) (*wire.StepRecord, error) {
	if err := r.check(namespace, runID); err != nil {
		return nil, err
	}
	p := wire.Partition(namespace, runID, r.Partitions)
	var (
		tail  runTail
		row   *wire.StepRecord
		begun uint32
	)
	pos, err := r.read(p, "run", func(after uint64) (uint64, error) {
		tail = runTail{}
		return r.Tail.Tail(ctx, p, namespace, wire.KindRun, runID, after, tail.see)
	}, func() (pos uint64, err error) {
		row, begun, pos, err = r.Rows.Latest(ctx, p, runID)
		return pos, err
	})
	if err != nil {
		return nil, err
	}
	return tail.all().latest(row, begun, pos), nil
}
