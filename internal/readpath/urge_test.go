package readpath_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/position"
	"github.com/persistd/persistd/internal/readpath"
	"github.com/persistd/persistd/internal/wire"
)

// The run's last event is 10, and 8 is committed when the reads begin; what they urge is told before anything is.
func TestWhatAReadWaitsForIsUrged(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		last uint64 // the run's in the log
		read func(ctx context.Context, r *readpath.Reader) error
		want []uint64
	}{
		"the commit of an event": {10, func(ctx context.Context, r *readpath.Reader) error {
			_, err := r.Committed(ctx, "default", readpath.Write{ID: run, Sequence: 9})
			return err
		}, []uint64{9}},
		"the steps of a run":       {10, func(ctx context.Context, r *readpath.Reader) error { _, err := steps(ctx, r); return err }, []uint64{10}},
		"not those that MySQL has": {8, func(ctx context.Context, r *readpath.Reader) error { _, err := steps(ctx, r); return err }, nil},
		"the news of a run": {10, func(ctx context.Context, r *readpath.Reader) error {
			_, err := r.Watch(ctx, "default", run, 2, readpath.Cursor{}, time.Minute)
			return err
		}, []uint64{10}},
		"not whatever comes next": {8, func(ctx context.Context, r *readpath.Reader) error {
			_, err := r.Watch(ctx, "default", run, 2, readpath.Cursor{}, time.Minute)
			return err
		}, nil},
		"nor what is read without waiting": {10, func(ctx context.Context, r *readpath.Reader) error {
			_, err := r.LoadLatest(ctx, "default", run)
			return err
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := &data{log: []wire.Event{event(row.last, op(2, "x"))}, positions: []uint64{8, 8, 10}}
				r := d.reader(8)
				var urged []uint64
				r.Urge = func(p int, seq uint64) {
					require.Equal(t, home, p)
					urged = append(urged, seq)
				}
				done := make(chan error, 1)
				go func() { done <- row.read(t.Context(), r) }()
				synctest.Wait()
				require.Equal(t, row.want, urged)
				d.commit(r, 10, change(10, 2))
				r.Positions.Advance(position.Commit{Partition: home, From: 8, To: 10})
				require.NoError(t, <-done)
			})
		})
	}
}
