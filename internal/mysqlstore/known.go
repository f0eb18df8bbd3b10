package mysqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/batcher"
)

// Recognise makes log the one that the store works on, as [Store.Register] does, but writes nothing: a log that was never registered in
// this database is an error.
func (s *Store) Recognise(ctx context.Context, log Log) error {
	log.Created = log.Created.UTC().Truncate(time.Microsecond)
	r := &registration{log: log}
	known, err := s.registrations(ctx, r)
	if err == nil && len(known) == 0 {
		err = &verdict{
			class: batcher.Operator, hint: "is it the right database, and the right stream? persistd serve registers its log at its start",
			err: fmt.Errorf("stream made at %s is not known here", log.Created.Format(time.RFC3339Nano)),
		}
	}
	if err != nil {
		return s.fail(fmt.Sprintf("find stream %q", log.Stream), err)
	}
	r.generation = known[len(known)-1].generation
	s.registered.Store(r)
	return nil
}

// Introduce makes log the one that the store works on, and gives it its number in this database when it has none: but it makes no partitions,
// so that who applies the log later begins where it would have begun.
func (s *Store) Introduce(ctx context.Context, log Log) error {
	log.Created = log.Created.UTC().Truncate(time.Microsecond)
	r := &registration{log: log}
	var err error
	if r.generation, err = s.generation(ctx, r); err != nil {
		return s.fail(fmt.Sprintf("introduce stream %q", log.Stream), err)
	}
	s.registered.Store(r)
	return nil
}

// LastRegistered is when the registered log was registered again, as one that had lost its end; zero when it was registered once. Of what was
// logged before it is not known under which of its numbers it was applied.
func (s *Store) LastRegistered(ctx context.Context) (time.Time, error) {
	r := s.registered.Load()
	if r == nil {
		return time.Time{}, s.fail("find registrations", errNotRegistered)
	}
	known, err := s.registrations(ctx, r)
	if err != nil || len(known) < 2 {
		return time.Time{}, s.fail("find registrations", err)
	}
	return known[len(known)-1].at, nil
}

// numbered is a registration of a log: its number, and when.
type numbered struct {
	generation uint32
	at         time.Time
}

// registrations are those of r's log, in order.
func (s *Store) registrations(ctx context.Context, r *registration) (all []numbered, err error) {
	rows, err := s.leases.QueryContext(ctx, "SELECT generation, registered_at FROM persistd_streams WHERE "+string(r.appendStream(nil))+" ORDER BY generation")
	if err != nil {
		return nil, fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var n numbered
		if err := rows.Scan(&n.generation, &n.at); err != nil {
			return nil, fmt.Errorf("scan: %w", err)
		}
		all = append(all, n)
	}
	return all, wrap("read", rows.Err())
}
