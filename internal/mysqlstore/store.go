package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/readpath"
)

// Store is the database. Its methods may be called concurrently, and all of them wait for the server no longer than their ctx.
// Except where a method says otherwise, an error is a *[batcher.Error].
type Store struct {
	config  Config
	servers *servers
	log     *zap.Logger
	metrics *metrics

	// joints are the writers' connections for what CommitAll does.
	writers, joints, readers, leases *sql.DB
	reads

	// registered is the log whose partitions are worked on; nil before [Store.Register].
	registered atomic.Pointer[registration]
	packet     packetLimit
	// runs is what is known of whether persistd_runs has rows.
	runs runless
	// forget says that rows of replicas were seen that died long ago.
	forget atomic.Bool
}

var (
	_ batcher.Store    = (*Store)(nil)
	_ batcher.Joint    = (*Store)(nil)
	_ readpath.Rows    = (*Store)(nil)
	_ partition.Leases = (*Store)(nil)
)

// Open returns the store of the database that c names. It connects to nothing: the server need not be up. c is checked and has its
// zero fields set. The error is about c.
func Open(c Config, log *zap.Logger, reg prometheus.Registerer) (_ *Store, err error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("check database settings: %w", err)
	}
	s := &Store{config: c, log: log}
	if s.servers, err = c.servers(); err != nil {
		return nil, err
	}
	s.servers.logTo(log)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.writers, err = c.openPool(s.servers, c.Writers, writerIdle, writerSession); err != nil {
		return nil, err
	}
	if s.joints, err = c.openPool(s.servers, c.Writers, writerIdle, writerSession, jointSession); err != nil {
		return nil, err
	}
	if s.readers, err = c.openPool(s.servers, c.Readers, time.Minute); err != nil {
		return nil, err
	}
	// Leases have connections of their own, or they would be lost behind slow commits. Three: one each for renewing, for looking, and for
	// acquiring and releasing.
	if s.leases, err = c.openPool(s.servers, 3, time.Minute); err != nil {
		return nil, err
	}
	s.reads = reads{db: s.readers, prepared: newPrepared(s.readers), generation: s.presentGeneration, failed: s.fail}
	if s.metrics, err = newMetrics(reg, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Close closes the connections, and unregisters the metrics. Calls that are under way fail. It is idempotent.
func (s *Store) Close() error {
	if s.metrics != nil {
		s.metrics.unregister()
	}
	var errs []error
	if s.prepared != nil {
		errs = append(errs, s.prepared.close())
	}
	for _, db := range []*sql.DB{s.writers, s.joints, s.readers, s.leases} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// Ping asks the server whether it is there.
func (s *Store) Ping(ctx context.Context) error {
	return s.fail("ping database", s.leases.PingContext(ctx))
}

// nobody is a run that is asked for to see whether reads work; whether it exists does not matter.
const nobody = "persistd-ready"

// Answers asks what every read of a step asks, of a run that nobody has: a server that is there may still lack tables, or rights on them.
func (s *Store) Answers(ctx context.Context) error {
	_, _, _, err := s.Latest(ctx, 0, nobody)
	return err
}

// Limits is what there is to know about the server.
type Limits struct {
	// MaxAllowedPacket is how many bytes a statement may have.
	MaxAllowedPacket int64
	// Version is as the server gives it.
	Version string
	// Engine is "mariadb" or "mysql".
	Engine string
}

// Limits asks the server for its limits.
func (s *Store) Limits(ctx context.Context) (Limits, error) {
	var l Limits
	err := s.leases.QueryRowContext(ctx, "SELECT @@max_allowed_packet, VERSION()").Scan(&l.MaxAllowedPacket, &l.Version)
	if err != nil {
		return Limits{}, s.fail("ask server for its limits", err)
	}
	l.Engine = "mysql"
	if strings.Contains(strings.ToLower(l.Version), "mariadb") {
		l.Engine = "mariadb"
	}
	return l, nil
}

// fail is err with what was done, classified and counted; nil for nil.
func (s *Store) fail(what string, err error) error {
	if err == nil {
		return nil
	}
	e := Classify(err)
	e.Err = fmt.Errorf("%s: %w", what, e.Err)
	s.metrics.failed(e)
	return e
}
