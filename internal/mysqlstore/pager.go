package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

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

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// pager is how a page of records is read.
type pager[T any] struct {
	// query asks q for the next n records after last, which is nil at first.
	query func(ctx context.Context, q querier, last *T, n int) (*sql.Rows, error)
	// scan reads one, and says how long it is.
	scan func(rows *sql.Rows) (record T, size int, err error)

	all  []T
	size int
}

// page reads records until there are limit of them (0 is as many as fit), or pageBytes of them, after one at the earliest. more is whether
// there may be more of them. A page is of one moment.
//
// The database is not told how many bytes fit, for it would have to measure every state first, which MySQL does by writing it out as
// text. So it is asked in chunks, which grow as long as what comes is short. When the first one, which is small, is not all of the page,
// it is read again, in a transaction with the others.
func (p *pager[T]) page(ctx context.Context, db *sql.DB, limit int) (all []T, more bool, err error) {
	if limit <= 0 || limit > pageRecords {
		limit = pageRecords
	}
	end, more, err := p.chunk(ctx, db, min(firstChunk, limit), limit)
	switch {
	case err != nil:
		return nil, false, err
	case end:
		return p.all, more, nil
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, false, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	n := p.next(pageBytes, limit)
	for p.all, p.size = nil, 0; ; n = p.next(pageBytes-p.size, limit-len(p.all)) {
		if end, more, err = p.chunk(ctx, tx, n, limit); err != nil {
			return nil, false, err
		}
		if end {
			return p.all, more, nil
		}
	}
}

// next is how many records to ask for, of which so many bytes and so many are left to the page; there are some to judge by.
func (p *pager[T]) next(size, n int) int {
	return min(chunkGrowth*len(p.all), size/max(1, p.size/len(p.all))+1, n, largestChunk)
}

// chunk reads the next n records. end says that the page ends with them, more that there may be more records then.
func (p *pager[T]) chunk(ctx context.Context, q querier, n, limit int) (end, more bool, err error) {
	var last *T
	if len(p.all) > 0 {
		last = &p.all[len(p.all)-1]
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := p.query(ctx, q, last, n)
	if err != nil {
		return false, false, fmt.Errorf("select: %w", err)
	}
	defer func() {
		if closing := rows.Close(); ctx.Err() == nil || err != nil { // after hanging up it says just that
			err = errors.Join(err, closing)
		}
	}()
	came := 0
	for ; rows.Next(); came++ {
		record, size, err := p.scan(rows)
		if err != nil {
			return false, false, fmt.Errorf("scan: %w", err)
		}
		if len(p.all) > 0 && p.size+size > pageBytes {
			if (n-came)*size > hangUp {
				cancel() // the driver drops the connection; otherwise Close reads on to the end
			}
			return true, true, nil
		}
		p.all, p.size = append(p.all, record), p.size+size
	}
	return came < n || len(p.all) == limit, came == n, wrap("read", rows.Err())
}
