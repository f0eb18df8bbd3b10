package mysqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// CommitAll implements [batcher.Joint]. What a commit of one batch promises (see [Store.Commit]) it promises of each, and that all are there or none.
//
//	lock and move the positions, in order of the partitions   ── not all are ours: roll back
//	apply the events of all, in log order (see applier)        ── some are of an older attempt, or refused: roll back
//	commit                                                     ── an error leaves open whether it happened
//
// To apply them in log order is to have committed each event by itself, one after the other: partitions have the sequences of one stream. Locks are
// taken in the order in which a commit of one batch takes them. Whose fault it is that it failed is not looked for; what was committed without
// the caller learning of it a commit of the one batch finds.
func (s *Store) CommitAll(ctx context.Context, batches []*batcher.Batch) error {
	r := s.registered.Load()
	if r == nil {
		return s.fail("commit batches", errNotRegistered)
	}
	batches = slices.SortedFunc(slices.Values(batches), func(x, y *batcher.Batch) int { return cmp.Compare(x.Partition, y.Partition) })
	return s.fail(fmt.Sprintf("commit batches of %d partitions", len(batches)), s.commitAll(ctx, r, batches))
}

func (s *Store) commitAll(ctx context.Context, r *registration, batches []*batcher.Batch) (err error) {
	conn, err := s.joints.Conn(ctx)
	if err != nil {
		return fmt.Errorf("get connection: %w", err)
	}
	defer func() { _ = conn.Close() }() // gives it back to the pool
	defer func() {
		if err != nil {
			undo(ctx, conn, err)
		}
	}()
	if err := s.fenceAll(ctx, conn, r, batches); err != nil {
		return fmt.Errorf("move positions: %w", err)
	}
	runless, err := s.runs.none(ctx, conn, r, batches...)
	if err != nil {
		return err
	}
	a := applier{conn: conn, packet: &s.packet, generation: r.generation, runless: !slices.Contains(runless, false)}
	events := inLogOrder(batches)
	outcomes, err := a.apply(ctx, events)
	if err == nil {
		err = refusal(events, outcomes)
	}
	if err != nil {
		return err
	}
	if err := end(ctx, conn, "COMMIT"); err != nil {
		return err
	}
	for i, b := range batches {
		s.runs.committed(r, b, runless[i] && !slices.ContainsFunc(b.Events, a.makes))
	}
	return nil
}

// inLogOrder are the events of all batches.
func inLogOrder(batches []*batcher.Batch) []*wire.Event {
	n := 0
	for _, b := range batches {
		n += len(b.Events)
	}
	all := make([]*wire.Event, 0, n)
	for _, b := range batches {
		all = append(all, b.Events...)
	}
	slices.SortFunc(all, func(x, y *wire.Event) int { return cmp.Compare(x.Message.Sequence, y.Message.Sequence) })
	return all
}

// fenceAll begins the transaction and moves the positions, as fence does of one. The rows stay locked until the transaction ends.
func (s *Store) fenceAll(ctx context.Context, conn *sql.Conn, r *registration, batches []*batcher.Batch) error {
	q := make([]byte, 0, 512+256*len(batches))
	each := func(column string, value func(q []byte, b *batcher.Batch) []byte) {
		q = append(q, column...)
		q = append(q, "=CASE partition_no"...)
		for _, b := range batches {
			q = append(q, " WHEN "...)
			q = strconv.AppendInt(q, int64(b.Partition), 10)
			q = append(q, " THEN "...)
			q = value(q, b)
		}
		q = append(q, " END, "...)
	}
	last := func(q []byte, b *batcher.Batch) []byte { return appendUint(q, b.Last()) }
	// Rows are looked up in the key, however few there are: in its order they are locked.
	q = append(q, "UPDATE persistd_partitions FORCE INDEX (PRIMARY) SET "...)
	each("position", last)
	each("position_of", last)
	each("position_logged", func(q []byte, b *batcher.Batch) []byte {
		return appendPlaceTime(q, b.Events[len(b.Events)-1].Message.Logged)
	})
	q = append(q, "updated_at=UTC_TIMESTAMP(6), lease_until=UTC_TIMESTAMP(6)+INTERVAL "...)
	q = appendUint(q, uint64(s.config.Lease.Microseconds())) //nolint:gosec // validated: positive.
	q = append(q, " MICROSECOND WHERE "...)
	q = r.appendStream(q)
	q = append(q, " AND owner="...)
	q = appendString(q, s.config.Owner)
	q = append(q, " AND generation="...)
	q = appendUint(q, uint64(r.generation))
	for i, b := range batches {
		if i == 0 {
			q = append(q, " AND ("...)
		} else {
			q = append(q, " OR "...)
		}
		q = append(q, "partition_no="...)
		q = strconv.AppendInt(q, int64(b.Partition), 10)
		q = append(q, " AND epoch="...)
		q = appendUint(q, b.Epoch)
		q = append(q, " AND position="...)
		q = appendUint(q, b.After)
	}
	res, err := conn.ExecContext(ctx, string(append(q, ')')))
	if err != nil {
		return err //nolint:wrapcheck // the caller does.
	}
	n, err := res.RowsAffected() // rows changed: each Last is greater than its After, so a match is a change
	if err == nil && n != int64(len(batches)) {
		err = &verdict{class: batcher.Again, err: fmt.Errorf("%d of %d are where they should be, and ours", n, len(batches))}
	}
	return err //nolint:wrapcheck // never fails with this driver.
}
