package mysqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
	"go.uber.org/zap"
)

// collation of the connections. Of the utf8mb4 ones it is known to every server, and compares literals binary.
const collation = "utf8mb4_bin"

// session is what every connection needs besides its character set, which the driver sets. The literals of [appendString] rely on
// both: on utf8mb4, and on a sql_mode without NO_BACKSLASH_ESCAPES. Strict mode makes the server refuse what it would otherwise cut;
// created_at relies on the time zone.
const session = "SET sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone='+00:00'"

// isolation has a statement of its own: the variable's name differs between servers.
const isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"

// writerSession is for the connections that commit. Without autocommit the first statement begins the transaction, which saves a
// round trip. A paused replica, or one cut off from the network, keeps the locks of an unfinished transaction, and with them its
// partition, only until wait_timeout ends its connection; the pool closes idle ones earlier ([writerIdle]). The lock wait is
// bounded so that a commit that stands behind such a lock reports it.
//
// MariaDB counts the characters of each value that it is sent as one of utf8mb4, and looks for the end of each literal character by character: an
// eighth of its CPU in a drain. What it is told is binary it takes as it is, and refuses what is no text when it stores it, as it does anyway.
// Literals are of the connection's collation all the same, and compare as such; the values of a prepared statement are bytes, and are taken only
// while the columns are of utf8mb4 ([conn.ofOtherCharset], and [firstStep] in each statement). Where it does not take, behind a proxy or on MySQL, for
// which it is a comment, all is as it is for the other connections. MySQL makes no JSON of what is binary.
const writerSession = "SET autocommit=0, wait_timeout=60, innodb_lock_wait_timeout=10 /*M! , character_set_client=binary */"

// jointSession is for the writers' connections that commit batches of several partitions: if a lock is not to be had soon, that is to hold up
// the one that needs it, and not those that are in the same transaction.
const jointSession = "SET innodb_lock_wait_timeout=1"

const writerIdle = 30 * time.Second

// connector opens connections to one of the servers, with their session settings.
type connector struct {
	servers  *servers
	bases    []driver.Connector // of each server
	timeout  time.Duration      // of one attempt at one server, from dialing to the last setting
	settings []string
}

var _ driver.Connector = (*connector)(nil)

// Connect opens a connection to the server that is worked on, or else to the next that serves. Who has no time left to try the next has at
// least left the one that does not answer: all connections go with it, so not at the word of a caller who was told to stop, or gave it no time.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	var errs []error
	for range c.bases {
		index, began := int(c.servers.current.Load()), time.Now()
		conn, err := c.open(ctx, index)
		if err == nil {
			return conn, nil
		}
		if len(c.bases) == 1 {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", c.servers.drivers[index].Addr, err))
		if ctx.Err() != nil && (errors.Is(ctx.Err(), context.Canceled) || time.Since(began) < leastPatience) {
			break
		}
		c.servers.leave(index)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

// leastPatience is how long a server has at least to take a connection before a caller whose time ends may call it one that does not answer.
const leastPatience = 100 * time.Millisecond

// open opens a connection to one server. One whose settings do not take is closed. The driver bounds only the dialing, and a server that is
// dead behind a proxy takes connections and says nothing.
func (c *connector) open(ctx context.Context, index int) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	base, err := c.bases[index].Connect(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // database/sql looks for driver.ErrBadConn itself.
	}
	opened := &conn{driverConn: base.(driverConn), servers: c.servers, index: index} //nolint:forcetypeassert // go-sql-driver's is one.
	if err := opened.setUp(ctx, c.settings); err != nil {
		_ = base.Close()
		return nil, err
	}
	return opened, nil
}

// Driver is the underlying driver.
func (c *connector) Driver() driver.Driver { return c.bases[0].Driver() }

// openPool opens a pool of at most size connections. It connects to nothing yet.
func (c Config) openPool(v *servers, size int, idle time.Duration, settings ...string) (*sql.DB, error) {
	to := &connector{servers: v, timeout: c.ConnectTimeout, settings: append([]string{session, isolation}, settings...)}
	for _, d := range v.drivers {
		base, err := mysql.NewConnector(d.Clone())
		if err != nil {
			return nil, fmt.Errorf("configure driver: %w", err)
		}
		to.bases = append(to.bases, base)
	}
	db := sql.OpenDB(to)
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	db.SetConnMaxIdleTime(idle)
	// A load balancer or a failover moves the connections within this.
	db.SetConnMaxLifetime(10 * time.Minute)
	return db, nil
}

// driverLog takes what the driver would print. It speaks of broken connections, whose errors are reported where they surface.
type driverLog struct{ log *zap.Logger }

func (l driverLog) Print(v ...any) {
	l.log.Debug("database driver", zap.String("message", fmt.Sprint(v...)))
}
