package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/persistd/persistd/internal/readpath"
)

// reads are the reads of the database, and the outbox: what is the same whether a log stands before it ([Store]) or not ([Direct]).
type reads struct {
	db *sql.DB
	// generation is that of the log whose sequences mean something to the reader; 0 without a log.
	generation func() (uint32, error)
	// failed is err with what was done, classified; nil for nil.
	failed func(what string, err error) error
}

var (
	_ readpath.History = (*Store)(nil)
	_ readpath.Outbox  = (*Store)(nil)
)

// presentGeneration is the generation of the registered log.
func (s *Store) presentGeneration() (uint32, error) {
	r := s.registered.Load()
	if r == nil {
		return 0, errNotRegistered
	}
	return r.generation, nil
}

const (
	// pageBytes is where a page is long enough: with what JSON adds, it fits a message of the 1 MiB that NATS has by default.
	pageBytes = 512 << 10
	// pageRecords is how many records a page has at most.
	pageRecords = 1000
	// firstChunk is how many records the first statement of a page asks for, and each further one asks for at most chunkGrowth times
	// as many as there are: the states of those that no longer fit the page were read and sent for nothing.
	firstChunk, chunkGrowth = 4, 4
	// largestChunk is how many records one statement asks for at most, or names: from 1000 on, MariaDB makes a table of the list of an IN,
	// and may read the whole table that it is about.
	largestChunk = 500
	// hangUp is how many bytes, at a guess, are let come of which none is needed. For more, a new connection is cheaper.
	hangUp = 8 << 20
)

// byStep makes the servers take the key in whose order a run's records are read. Left to themselves they now and then read a small
// table whole and sort what they find, states and all, for which MySQL's sort buffer is too small (1038).
const byStep = " FORCE INDEX (" + runStepKey + ") "

// page reads records until there are limit of them (0 is as many as fit), or pageBytes of them, after one at the earliest. query asks for
// the next n after last, which is nil at first; scan reads one, and how long it is. more is whether there may be more of them.
//
// The database is not told how many bytes fit, for it would have to measure every state first, which MySQL does by writing it out as
// text. So it is asked in chunks, which grow as long as what comes is short.
func page[T any](
	ctx context.Context, limit int, query func(ctx context.Context, last *T, n int) (*sql.Rows, error), scan func(*sql.Rows) (T, int, error),
) (all []T, more bool, err error) {
	if limit <= 0 || limit > pageRecords {
		limit = pageRecords
	}
	size, n := 0, min(firstChunk, limit)
	for {
		var last *T
		if len(all) > 0 {
			last = &all[len(all)-1]
		}
		came, full, err := chunk(ctx, &all, &size, n, func(ctx context.Context) (*sql.Rows, error) { return query(ctx, last, n) }, scan)
		switch {
		case err != nil:
			return nil, false, err
		case full || len(all) == limit:
			return all, true, nil
		case came < n:
			return all, false, nil
		}
		fit := (pageBytes-size)/max(1, size/len(all)) + 1
		n = min(chunkGrowth*len(all), fit, limit-len(all), largestChunk)
	}
}

// chunk appends to all what one statement reads of n records, until the page is full.
func chunk[T any](
	ctx context.Context, all *[]T, size *int, n int, query func(ctx context.Context) (*sql.Rows, error), scan func(*sql.Rows) (T, int, error),
) (came int, full bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := query(ctx)
	if err != nil {
		return 0, false, fmt.Errorf("select: %w", err)
	}
	defer func() {
		if closing := rows.Close(); ctx.Err() == nil || err != nil { // after hanging up it says just that
			err = errors.Join(err, closing)
		}
	}()
	for rows.Next() {
		record, bytes, err := scan(rows)
		if err != nil {
			return came, false, fmt.Errorf("scan: %w", err)
		}
		came++
		if len(*all) > 0 && *size+bytes > pageBytes {
			if (n-came)*bytes > hangUp {
				cancel() // the driver drops the connection; otherwise Close reads on to the end
			}
			return came, true, nil
		}
		*all, *size = append(*all, record), *size+bytes
	}
	return came, false, wrap("read", rows.Err())
}

// appendMarks appends "(?,?,…)" for the n elements of a list, at least one.
func appendMarks(q []byte, n int) []byte {
	q = append(q, '(')
	for i := range n {
		if i > 0 {
			q = append(q, ',')
		}
		q = append(q, '?')
	}
	return append(q, ')')
}

// anys are the elements of list as arguments of a statement.
func anys[T any](list []T) []any {
	all := make([]any, len(list))
	for i, x := range list {
		all[i] = x
	}
	return all
}
