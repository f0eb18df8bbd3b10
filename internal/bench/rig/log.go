package rig

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the log's name.
const Stream = "PERSISTD"

// Ends are the last sequences of the partitions; zero of those that are empty.
type Ends []uint64

// EmptyLog removes all events, with no daemon running.
func (r *Rig) EmptyLog(ctx context.Context) error {
	s, err := r.js.Stream(ctx, Stream)
	if err != nil {
		return fmt.Errorf("empty log: %w", err)
	}
	if err := s.Purge(ctx); err != nil {
		return fmt.Errorf("empty log: %w", err)
	}
	return nil
}

// Ends asks for the ends of the partitions.
func (r *Rig) Ends(ctx context.Context) (Ends, error) {
	s, err := r.js.Stream(ctx, Stream)
	if err != nil {
		return nil, fmt.Errorf("find ends of log: %w", err)
	}
	n, err := r.partitions(ctx)
	if err != nil {
		return nil, err
	}
	ends := make(Ends, n)
	for p := range ends {
		m, err := s.GetLastMsgForSubject(ctx, fmt.Sprintf("persistd.log.%d.>", p))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return nil, fmt.Errorf("find end of partition %d: %w", p, err)
		default:
			ends[p] = m.Sequence
		}
	}
	return ends, nil
}

func (r *Rig) partitions(ctx context.Context) (n int, err error) {
	if err := r.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM persistd_partitions").Scan(&n); err != nil {
		return 0, fmt.Errorf("count partitions: %w", err)
	}
	return n, nil
}

// AwaitCommitted waits until the database has the log up to its ends, and returns when it saw that. It asks the database itself, by plain SQL:
// seldom while much is left, every 2 ms towards the end, so that looking costs little and the moment is exact.
func (r *Rig) AwaitCommitted(ctx context.Context, ends Ends) (time.Time, error) {
	began, first := time.Now(), int64(-1)
	for {
		left, err := r.left(ctx, ends)
		now := time.Now()
		if err != nil {
			return now, err
		}
		if left == 0 {
			return now, nil
		}
		if first < 0 {
			first = left
		}
		pause := 2 * time.Millisecond
		if done := first - left; done > 0 { // half of what it will take, at this pace
			pause = min(max(pause, time.Duration(float64(now.Sub(began))*float64(left)/float64(done)/2)), 100*time.Millisecond)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return now, fmt.Errorf("wait for %d sequences of the log to be committed: %w", left, context.Cause(ctx))
		}
		if r.daemon != nil {
			if err := r.daemon.Alive(); err != nil {
				return now, err
			}
		}
	}
}

// left is how many sequences the positions are behind the ends.
func (r *Rig) left(ctx context.Context, ends Ends) (left int64, err error) {
	rows, err := r.db.QueryContext(ctx, "SELECT partition_no, position FROM persistd_partitions")
	if err != nil {
		return 0, fmt.Errorf("read positions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var p int
		var position uint64
		if err := rows.Scan(&p, &position); err != nil {
			return 0, fmt.Errorf("read positions: %w", err)
		}
		if p < len(ends) && position < ends[p] {
			left += int64(ends[p] - position) //nolint:gosec // G115: sequences.
		}
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read positions: %w", err)
	}
	return left, nil
}
