package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// PositionsOf reads the partitions of log as they stand, in order of their numbers, without registering it: none when it never was.
func (s *Store) PositionsOf(ctx context.Context, log Log) ([]PartitionRow, error) {
	rows, err := s.positions(ctx, &registration{log: log.normal()})
	return rows, s.fail("read partitions", err)
}

// Former is a log of the same name that was registered before, and how far it got in this database.
type Former struct {
	Created time.Time
	// Generation is that of its last registration.
	Generation uint32
	// Position is the highest of its partitions' positions.
	Position wire.Place
}

// Former is the log of that name that was registered before log; nil when there was none. log may be registered itself by now, or not.
func (s *Store) Former(ctx context.Context, log Log) (*Former, error) {
	log = log.normal()
	var (
		f      Former
		logged sql.NullTime
	)
	err := s.leases.QueryRowContext(ctx, "SELECT s.stream_created, s.generation, p.position, IF(p.position_of=p.position, p.position_logged, NULL)"+
		" FROM persistd_streams s JOIN persistd_partitions p ON p.stream=s.stream AND p.stream_created=s.stream_created"+
		" WHERE s.stream=? AND s.stream_created<>? AND s.generation < COALESCE((SELECT MIN(generation) FROM persistd_streams"+
		" WHERE stream=? AND stream_created=?), 4294967295) ORDER BY s.generation DESC, p.position DESC LIMIT 1",
		log.Stream, log.Created, log.Stream, log.Created).Scan(&f.Created, &f.Generation, &f.Position.Sequence, &logged)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // documented: absence is an answer.
	}
	f.Position.Logged = logged.Time
	return &f, s.fail("find the log before", err)
}

// LostEnd is the step past a log that lost its end.
type LostEnd struct {
	// From are the positions that the plan was made for; To are those from which the log is read on. By partition.
	From, To []wire.Place
}

// AcceptLostEnd registers log once more, as a log of its own from here on: its events, whose sequences were given out before to events
// that it lost, are newer than every row that is there (I4). Partition p is set from plan.From[p] to plan.To[p], and everybody's term is over.
//
//	one transaction: check the positions, take the next generation, set positions and fence
//	                                     (crash before its end: nothing has happened; after it: all has)
func (s *Store) AcceptLostEnd(ctx context.Context, log Log, plan LostEnd) (generation uint32, err error) {
	generation, err = s.acceptLostEnd(ctx, &registration{log: log.normal()}, plan)
	return generation, s.fail("register the log again", err)
}

func (s *Store) acceptLostEnd(ctx context.Context, r *registration, plan LostEnd) (generation uint32, err error) {
	tx, err := s.leases.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed
	stream := string(r.appendStream(nil))
	var before uint32
	if err := tx.QueryRowContext(ctx, "SELECT registration FROM persistd_streams WHERE "+stream+lastRegistration+" FOR UPDATE").Scan(&before); err != nil {
		return 0, fmt.Errorf("find registration: %w", err)
	}
	res, err := tx.ExecContext(ctx, "INSERT INTO persistd_streams (stream, stream_created, registration, registered_at) VALUES (?, ?, ?, UTC_TIMESTAMP(6))",
		r.log.Stream, r.log.Created, before+1)
	if err != nil {
		return 0, fmt.Errorf("insert stream: %w", err)
	}
	next, err := res.LastInsertId()
	if err != nil {
		return 0, fmt.Errorf("learn generation: %w", err)
	}
	for p := range plan.From {
		var q strings.Builder
		fmt.Fprintf(&q, "UPDATE persistd_partitions SET generation=%d, position=%d, position_of=%d, position_logged=%s, epoch=epoch+1, owner='',"+
			" lease_until=UTC_TIMESTAMP(6), updated_at=UTC_TIMESTAMP(6) WHERE %s AND position=%d",
			next, plan.To[p].Sequence, plan.To[p].Sequence, appendPlaceTime(nil, plan.To[p].Logged), r.appendKey(nil, p), plan.From[p].Sequence)
		res, err := tx.ExecContext(ctx, q.String())
		if err != nil {
			return 0, fmt.Errorf("set partition %d: %w", p, err)
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 { // the epoch rises, so a match is a change
			return 0, errors.Join(err, &verdict{
				class: batcher.Operator, hint: "somebody applies the log: stop persistd serve, and look again",
				err: fmt.Errorf("partition %d is no longer at %d", p, plan.From[p].Sequence),
			})
		}
	}
	return uint32(next), wrap("commit", tx.Commit()) //nolint:gosec // G115: the column is INT UNSIGNED.
}
