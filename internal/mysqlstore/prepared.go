package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// prepared are statements that the servers have parsed, on each connection that used them: of a read that finds one row by its key, to parse
// and plan the text is a third of the server's work. A [Direct] prepares none: a server keeps a number of them for all its clients together,
// and there may be as many Directs as workers.
type prepared struct {
	db *sql.DB

	mu     sync.Mutex // guards what follows; nothing blocks while it is held
	closed bool
	all    map[string]*sql.Stmt // by their text, of which there are few
}

func newPrepared(db *sql.DB) *prepared { return &prepared{db: db, all: map[string]*sql.Stmt{}} }

// get is the statement of a text.
func (p *prepared) get(ctx context.Context, query string) (*sql.Stmt, error) {
	p.mu.Lock()
	s := p.all[query]
	p.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was read.
	}
	p.mu.Lock()
	other := p.all[query]
	keep := other == nil && !p.closed
	if keep {
		p.all[query] = s
	}
	p.mu.Unlock()
	switch {
	case keep:
		return s, nil
	case other == nil:
		return nil, errors.Join(sql.ErrConnDone, s.Close()) //nolint:sqlclosecheck // only this one is closed, and here.
	default:
		return other, s.Close() //nolint:wrapcheck // the caller says what was read.
	}
}

func (p *prepared) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, s := range p.all {
		errs = append(errs, s.Close())
	}
	p.all = nil
	return errors.Join(errs...)
}

// row reads the one row of a query into dest. Where the server has no room for a prepared statement, or a proxy in between knows of none, the
// text is sent as it is.
func (r *reads) row(ctx context.Context, query string, args []any, dest ...any) error {
	if r.prepared != nil {
		s, err := r.prepared.get(ctx, query) //nolint:sqlclosecheck // it stays, for the next.
		if err == nil {
			err = s.QueryRowContext(ctx, args...).Scan(dest...)
		}
		if !unprepared(err) && !waitedForCluster(err) {
			return err //nolint:wrapcheck // the caller says what was read.
		}
	}
	return r.db.QueryRowContext(ctx, query, args...).Scan(dest...) //nolint:wrapcheck // the caller says what was read.
}

// waitedForCluster is whether err, of a read, says that it waited too long: what takes no locks waits only for a Galera node to have what the others
// have. One that is no member of a majority answers so to a prepared statement, and to a text that it is none, which is what makes the pools
// leave it.
func waitedForCluster(err error) bool {
	var answer *mysql.MySQLError
	return errors.As(err, &answer) && answer.Number == 1205
}

// unprepared is whether err is about the statement's being prepared, and not about what it says.
func unprepared(err error) bool {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Number {
	case 1243, // the server does not know it
		1295, // a proxy that takes no prepared statements
		1461, // max_prepared_stmt_count
		1615: // it has to be prepared again, and again
		return true
	default:
		return false
	}
}
