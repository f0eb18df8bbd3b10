package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/wire"
)

// Log is the stream whose partitions the store keeps.
type Log struct {
	// Stream is the stream's name.
	Stream string
	// Created is when the stream was created, by which one that was deleted and made again is told from it.
	Created time.Time
	// Partitions is how many partitions it has.
	Partitions int
}

// normal is l with Created as precise as DATETIME(6).
func (l Log) normal() Log {
	l.Created = l.Created.UTC().Truncate(time.Microsecond)
	return l
}

// registration is a registered log. It is never modified.
type registration struct {
	log        Log
	generation uint32
}

// errNotRegistered is what every call before [Store.Register] gets.
var errNotRegistered = errors.New("no log is registered yet")

// positionLogged is the time of the event at a partition's position; NULL when it is not known.
const positionLogged = "IF(position_of=position, position_logged, NULL)"

// lastRegistration finds the present one of a log that was registered more than once.
const lastRegistration = " ORDER BY registration DESC LIMIT 1"

// appendKey appends the condition that finds the row of a partition.
func (r *registration) appendKey(q []byte, partition int) []byte {
	q = r.appendStream(q)
	q = append(q, " AND partition_no="...)
	return strconv.AppendInt(q, int64(partition), 10)
}

// appendStream appends the condition that finds the rows of the stream.
func (r *registration) appendStream(q []byte) []byte {
	q = append(q, "stream="...)
	q = appendString(q, r.log.Stream)
	q = append(q, " AND stream_created="...)
	return r.log.Created.AppendFormat(q, "'2006-01-02 15:04:05.000000'")
}

// Register makes log the one that the store works on, and sees to it that its partitions have rows: those that are new begin at
// position 0, owned by nobody. It is idempotent and may be called by several replicas at once.
//
// A stream that is registered for the first time gets the next generation. A row of workflow_steps is newer than another when its
// (generation, sequence) is: a stream that was deleted and made again counts its sequences from 1, and still none of its events is
// older than what is there.
func (s *Store) Register(ctx context.Context, log Log) error {
	return s.RegisterAt(ctx, log, nil)
}

// RegisterAt is Register, but partitions that are new begin at the places given: those that a log had reached of which this one is a copy.
func (s *Store) RegisterAt(ctx context.Context, log Log, places []wire.Place) error {
	if log.Stream == "" || log.Partitions < 1 || log.Created.IsZero() {
		return s.fail("register log", fmt.Errorf("stream %q created %s with %d partitions is none", log.Stream, log.Created, log.Partitions))
	}
	r := &registration{log: log.normal()}
	if err := s.register(ctx, r, places); err != nil {
		return s.fail(fmt.Sprintf("register stream %q", log.Stream), err)
	}
	s.registered.Store(r)
	return nil
}

func (s *Store) register(ctx context.Context, r *registration, places []wire.Place) (err error) {
	if r.generation, err = s.generation(ctx, r); err != nil {
		return err
	}
	rows, err := s.positions(ctx, r)
	if err != nil {
		return err
	}
	if len(rows) > r.log.Partitions {
		return &verdict{
			class: batcher.Operator, hint: "the number of partitions is fixed for a stream's life: set it to what the database has",
			err: fmt.Errorf("stream has %d partitions, but %d in the database", r.log.Partitions, len(rows)),
		}
	}
	if len(rows) == r.log.Partitions && rows[0].Generation == r.generation {
		return nil // the usual start: nothing is written
	}
	q := []byte("INSERT INTO persistd_partitions (stream, stream_created, partition_no, generation, position, position_of," +
		" position_logged, owner, epoch, lease_until, updated_at) VALUES ")
	for n := range r.log.Partitions {
		if n > 0 {
			q = append(q, ',')
		}
		q = append(q, '(')
		q = appendString(q, r.log.Stream)
		q = r.log.Created.AppendFormat(q, ",'2006-01-02 15:04:05.000000',")
		q = strconv.AppendInt(q, int64(n), 10)
		q = append(q, ',')
		q = appendUint(q, uint64(r.generation))
		var at wire.Place
		if places != nil {
			at = places[n]
		}
		for range 2 {
			q = append(q, ',')
			q = appendUint(q, at.Sequence)
		}
		q = append(q, ',')
		q = appendPlaceTime(q, at.Logged)
		q = append(q, ",'',0,UTC_TIMESTAMP(6),UTC_TIMESTAMP(6))"...)
	}
	// Rows that are there, or that another replica makes at the same time, keep all but the generation, which is the same for it; or a later
	// one, when somebody registers the log again in this moment (see [Store.AcceptLostEnd]).
	q = append(q, " ON DUPLICATE KEY UPDATE generation=GREATEST(generation, VALUES(generation))"...)
	if _, err := s.leases.ExecContext(ctx, string(q)); err != nil {
		return fmt.Errorf("insert %d partitions: %w", r.log.Partitions, err)
	}
	return nil
}

// generation is the number under which r's stream was registered last, first by the way if need be. AUTO_INCREMENT gives each number to
// one stream only, however many replicas ask; a number that is skipped does no harm.
func (s *Store) generation(ctx context.Context, r *registration) (g uint32, err error) {
	find := "SELECT generation FROM persistd_streams WHERE " + string(r.appendStream(nil)) + lastRegistration
	err = s.leases.QueryRowContext(ctx, find).Scan(&g)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return g, wrap("find generation", err)
	}
	_, err = s.leases.ExecContext(ctx, "INSERT INTO persistd_streams (stream, stream_created, registered_at)"+
		" VALUES (?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE stream=VALUES(stream)", r.log.Stream, r.log.Created)
	if err != nil {
		return 0, fmt.Errorf("insert stream: %w", err)
	}
	return g, wrap("find generation", s.leases.QueryRowContext(ctx, find).Scan(&g))
}

// PartitionRow is a partition as it stands in the database.
type PartitionRow struct {
	Partition  int
	Generation uint32
	Position   uint64
	// Logged is when the event at Position was logged; zero when that is not known.
	Logged time.Time
	// Owner is empty while nobody owns the partition.
	Owner string
	Epoch uint64
	// LeaseFor is how long the owner's lease still runs by the database's clock; 0 or less when it has ended.
	LeaseFor time.Duration
	// UpdatedAt is when the position last moved, by the database's clock.
	UpdatedAt time.Time
}

// Positions reads the partitions of the registered log, in order of their numbers.
func (s *Store) Positions(ctx context.Context) ([]PartitionRow, error) {
	r := s.registered.Load()
	if r == nil {
		return nil, s.fail("read partitions", errNotRegistered)
	}
	rows, err := s.positions(ctx, r)
	return rows, s.fail("read partitions", err)
}

func (s *Store) positions(ctx context.Context, r *registration) (_ []PartitionRow, err error) {
	q := "SELECT partition_no, generation, position, " + positionLogged + ", owner, epoch," +
		" TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), lease_until), updated_at" +
		" FROM persistd_partitions WHERE " + string(r.appendStream(nil)) + " ORDER BY partition_no"
	rows, err := s.leases.QueryContext(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("select partitions: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []PartitionRow
	for rows.Next() {
		var (
			p      PartitionRow
			micro  int64
			logged sql.NullTime
		)
		if err := rows.Scan(&p.Partition, &p.Generation, &p.Position, &logged, &p.Owner, &p.Epoch, &micro, &p.UpdatedAt); err != nil {
			return nil, fmt.Errorf("scan partition: %w", err)
		}
		p.Logged = logged.Time
		if p.Owner != "" {
			p.LeaseFor = time.Duration(micro) * time.Microsecond
		}
		all = append(all, p)
	}
	return all, wrap("read partitions", rows.Err())
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
