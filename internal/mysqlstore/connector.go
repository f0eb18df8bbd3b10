package mysqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
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
const writerSession = "SET autocommit=0, wait_timeout=60, innodb_lock_wait_timeout=10"

const writerIdle = 30 * time.Second

// connector opens connections with their session settings.
type connector struct {
	base     driver.Connector
	timeout  time.Duration // of one attempt, from dialing to the last setting
	settings []string
}

var _ driver.Connector = (*connector)(nil)

// Connect opens a connection. One whose settings do not take is closed. The driver bounds only the dialing, and a server that is dead
// behind a proxy takes connections and says nothing.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := c.base.Connect(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // database/sql looks for driver.ErrBadConn itself.
	}
	for _, s := range c.settings {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, s, nil); err != nil { //nolint:forcetypeassert // go-sql-driver's is one.
			_ = conn.Close()
			return nil, fmt.Errorf("set up session: %w", err)
		}
	}
	return conn, nil
}

// Driver is the underlying driver.
func (c *connector) Driver() driver.Driver { return c.base.Driver() }

// openPool opens a pool of at most size connections. It connects to nothing yet.
func (c Config) openPool(d *mysql.Config, size int, idle time.Duration, settings ...string) (*sql.DB, error) {
	base, err := mysql.NewConnector(d.Clone())
	if err != nil {
		return nil, fmt.Errorf("configure driver: %w", err)
	}
	db := sql.OpenDB(&connector{base: base, timeout: c.ConnectTimeout, settings: append([]string{session, isolation}, settings...)})
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
