package mysqlstore

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/go-sql-driver/mysql"
)

// driverConn is what go-sql-driver's connections are.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
	driver.NamedValueChecker
}

// conn is a connection that is not used any more once the pools have left its server, or when that cannot serve as a node of a cluster.
type conn struct {
	driverConn

	servers *servers
	index   int
	unfit   bool // the node told that it is no member; guarded by its one user, as is what follows

	statements map[group]driver.StmtExecContext // that the server has parsed
	textOnly   bool                             // it takes none, or takes the values for what they are not
	asked      bool                             // whether the others are known
	unchecked  bool                             // rows need no checks
	bytes      bool                             // values are taken as they are, whatever the columns' character set
}

var _ driverConn = (*conn)(nil)

// ResetSession implements driver.SessionResetter; the pool calls it before it gives the connection out again.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.fit() {
		return driver.ErrBadConn
	}
	return c.driverConn.ResetSession(ctx) //nolint:wrapcheck // database/sql looks for driver.ErrBadConn itself.
}

// IsValid implements driver.Validator; the pool calls it when the connection comes back.
func (c *conn) IsValid() bool { return c.fit() && c.driverConn.IsValid() }

func (c *conn) fit() bool { return !c.unfit && int(c.servers.current.Load()) == c.index }

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	r, err := c.driverConn.ExecContext(ctx, query, args)
	return r, c.looked(err)
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	r, err := c.driverConn.QueryContext(ctx, query, args)
	return r, c.looked(err)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.driverConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, c.looked(err)
	}
	return &stmt{s.(driverStmt), c}, nil //nolint:forcetypeassert // go-sql-driver's is one.
}

// driverStmt is what go-sql-driver's statements are.
type driverStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
	driver.NamedValueChecker
}

// stmt is a statement that was prepared on a conn.
type stmt struct {
	driverStmt

	c *conn
}

var _ driverStmt = (*stmt)(nil)

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	r, err := s.driverStmt.ExecContext(ctx, args)
	return r, s.c.looked(err)
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	r, err := s.driverStmt.QueryContext(ctx, args)
	return r, s.c.looked(err)
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	tx, err := c.driverConn.BeginTx(ctx, opts)
	return tx, c.looked(err)
}

// looked notes whether err says that the server is no member of its cluster, or where others are named no primary any more: it answers, and
// goes on refusing what is to be written; what is read of it may be old.
func (c *conn) looked(err error) error {
	var answer *mysql.MySQLError
	if errors.As(err, &answer) && (answer.Number == notPrepared || len(c.servers.drivers) > 1 && isReadOnly(answer)) {
		c.unfit = true
		c.servers.leave(c.index)
	}
	return err
}

// notPrepared is a Galera node's answer to every statement while it is not one of a majority, or has not yet what the others have.
const notPrepared = 1047

// isReadOnly is whether the server refuses writes: a primary that was demoted while connections to it were open.
func isReadOnly(answer *mysql.MySQLError) bool { return answer.Number == 1290 || answer.Number == 1836 }
