package mysqlstore

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
)

// Config says where the database is and how it is used.
type Config struct {
	// DSN is the data source name, as go-sql-driver documents it; it must name a database. It may have the addresses of several servers
	// that keep the same data, user:password@tcp(first:3306,second:3306)/database: one of them is worked on at a time, the first that
	// serves. Session settings that the
	// store's promises depend on (sql_mode, time_zone, isolation, character set, parseTime, loc, rejectReadOnly) are set over
	// whatever it says. It holds a password: it is never logged.
	DSN string
	// Owner is the name under which this instance holds leases: stable over restarts, unique among the replicas, 1 to 255
	// characters. It has no default.
	Owner string
	// Lease is how long a lease runs after each renewal and each commit. Zero is 15 s: three renewals of 5 s.
	Lease time.Duration
	// Writers is how many commits run at once. Zero is 4: each waits for one fsync of the server, which group-commits them, and
	// more gain little until partitions outnumber them.
	Writers int
	// Readers is how many reads run at once. Zero is 8.
	Readers int
	// ConnectTimeout bounds one attempt to connect, login and session settings included. Zero is 5 s. Statements end with their ctx.
	ConnectTimeout time.Duration
}

// WithDefaults returns a copy with the zero fields set.
func (c Config) WithDefaults() Config {
	if c.Lease == 0 {
		c.Lease = 15 * time.Second
	}
	if c.Writers == 0 {
		c.Writers = 4
	}
	if c.Readers == 0 {
		c.Readers = 8
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	return c
}

// Validate reports everything that is wrong with c, which has its defaults. It never shows the DSN.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.servers(); err != nil {
		errs = append(errs, err)
	}
	if n := utf8.RuneCountInString(c.Owner); n < 1 || n > 255 || !utf8.ValidString(c.Owner) {
		errs = append(errs, fmt.Errorf("owner: %d characters: want 1 to 255, in UTF-8", n))
	}
	if c.Lease < time.Second || c.Lease > time.Hour {
		errs = append(errs, fmt.Errorf("lease: %s: want 1s to 1h", c.Lease))
	}
	if c.Writers < 1 || c.Writers > 1000 {
		errs = append(errs, fmt.Errorf("writers: %d: want 1 to 1000", c.Writers))
	}
	if c.Readers < 1 || c.Readers > 1000 {
		errs = append(errs, fmt.Errorf("readers: %d: want 1 to 1000", c.Readers))
	}
	if c.ConnectTimeout <= 0 {
		errs = append(errs, fmt.Errorf("connect timeout: %s: want more than 0", c.ConnectTimeout))
	}
	return errors.Join(errs...)
}

// servers are what the DSN names.
func (c Config) servers() (*servers, error) { return newServers(c.DSN, c.driver) }

// driver is dsn, which has one address, with what the store needs set over it.
func (c Config) driver(dsn string) (*mysql.Config, error) {
	d, err := mysql.ParseDSN(dsn)
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "invalid DSN: "):
		return nil, fmt.Errorf("dsn: %w", err) // the driver's errors that begin so are constants; others may quote the DSN
	case err != nil, strings.Contains(d.Net, ":"):
		// Without an @ the driver takes user and password for the network, which each error of dialling would name.
		return nil, errors.New("dsn: is not of the form user:password@tcp(host:3306)/database")
	}
	if d.DBName == "" {
		return nil, errors.New("dsn: names no database: add it after the last slash, as in user:password@tcp(host:3306)/workflows")
	}
	d.ParseTime, d.Loc = true, time.UTC
	d.RejectReadOnly = true    // a demoted primary is left for the new one
	d.InterpolateParams = true // one round trip instead of three; the character set is one in which that is safe
	d.MultiStatements = false
	d.ClientFoundRows = false // the fence counts changed rows
	d.CheckConnLiveness = true
	d.MaxAllowedPacket = 0 // ask the server at each connect
	if d.Timeout == 0 {
		d.Timeout = c.ConnectTimeout
	}
	if err := d.Apply(mysql.Charset("utf8mb4", collation)); err != nil {
		return nil, fmt.Errorf("dsn: %w", err)
	}
	return d, nil
}
