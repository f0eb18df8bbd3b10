package mysqlstore

import (
	"context"
	"database/sql"
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
	err := s.leases.QueryRowContext(ctx, "SELECT generation FROM persistd_streams WHERE "+string(r.appendStream(nil))).Scan(&r.generation)
	if errors.Is(err, sql.ErrNoRows) {
		err = &verdict{
			class: batcher.Operator, hint: "is it the right database, and the right stream? persistd serve registers its log at its start",
			err: fmt.Errorf("stream made at %s is not known here", log.Created.Format(time.RFC3339Nano)),
		}
	}
	if err != nil {
		return s.fail(fmt.Sprintf("find stream %q", log.Stream), err)
	}
	s.registered.Store(r)
	return nil
}
