package chaos

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

const (
	partitions = 6
	replicas   = 3
	lease      = 2 * time.Second
)

// cluster is the processes of a scenario.
type cluster struct {
	t        *testing.T
	dir      string
	nats     *devstack.NATSProcess
	database *devstack.Database
	daemons  []*daemon
	sql      *sql.DB
}

// newCluster starts the servers; the daemons come later, behind proxies perhaps.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), nats: stacktest.NATSProcess(t)}
	var dsn string
	c.database, dsn = stacktest.OwnDatabase(t)
	cfg, err := mysql.ParseDSN(dsn)
	require.NoError(t, err)
	cfg.Logger = &mysql.NopLogger{} // a killed server is no news here
	cfg.Timeout, cfg.ReadTimeout = 5*time.Second, 20*time.Second
	connector, err := mysql.NewConnector(cfg)
	require.NoError(t, err)
	c.sql = sql.OpenDB(connector)
	t.Cleanup(func() { _ = c.sql.Close() })
	return c
}

// addDaemon prepares and starts a replica that reaches its servers at the given places.
func (c *cluster) addDaemon(binary, natsURL, dsn string) *daemon {
	c.t.Helper()
	name := fmt.Sprintf("persistd-%d", len(c.daemons)+1)
	d := newDaemon(c.dir, binary, name,
		"PERSISTD_NATS_URL="+natsURL, "PERSISTD_MYSQL_DSN="+dsn, "PERSISTD_INSTANCE="+name, "PERSISTD_HTTP_LISTEN=127.0.0.1:0",
		"PERSISTD_LOG_FORMAT=json", "PERSISTD_STREAM_MAX_BYTES=1GiB", fmt.Sprintf("PERSISTD_STREAM_PARTITIONS=%d", partitions),
		// What is committed leaves the log at once, so that nothing that was lost is there to heal it.
		"PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=500ms",
		"PERSISTD_LEASE_DURATION="+lease.String(), "PERSISTD_MYSQL_CONNECT_TIMEOUT=1s", "PERSISTD_MYSQL_COMMIT_TIMEOUT=5s",
		"PERSISTD_RETRY_MAX=500ms",
		"GORACE=halt_on_error=1",
	)
	c.daemons = append(c.daemons, d)
	require.NoError(c.t, d.start())
	c.t.Cleanup(func() {
		d.kill()
		if c.t.Failed() {
			c.t.Logf("%s said at the end:\n%s", d.name, d.tail())
		}
	})
	return d
}

// victim is a process that can be killed and stopped.
type victim struct {
	name  string
	pid   func() int
	kill  func()
	start func(ctx context.Context) error
}

// victims are all processes.
func (c *cluster) victims() map[string]victim {
	all := map[string]victim{
		"nats-server": {"nats-server", c.nats.Pid, c.nats.Kill, c.nats.Restart},
		"database":    {"database", c.database.Pid, c.database.Kill, c.database.Restart},
	}
	for _, d := range c.daemons {
		all[d.name] = victim{d.name, d.pid, d.kill, func(context.Context) error { return d.start() }}
	}
	return all
}

func (v victim) signal(s syscall.Signal) error {
	if err := syscall.Kill(v.pid(), s); err != nil {
		return fmt.Errorf("send %s to %s: %w", s, v.name, err)
	}
	return nil
}

// alive is nil while no daemon ended by itself.
func (c *cluster) alive() error {
	var errs []error
	for _, d := range c.daemons {
		errs = append(errs, d.alive())
	}
	return errors.Join(errs...)
}

// watch scrapes the daemons until ctx ends.
func (c *cluster) watch(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, d := range c.daemons {
			d.scrape(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// stop ends the daemons as an operator would, and requires them to end well.
func (c *cluster) stop() {
	c.t.Helper()
	for _, d := range c.daemons {
		require.NoError(c.t, d.terminate(time.Minute), "%s", d.tail())
	}
}

// noneLeft requires that everything that was started is gone. It is called last.
func (c *cluster) noneLeft() {
	c.t.Helper()
	c.nats.Kill()
	c.database.Kill()
	for _, v := range c.victims() {
		require.ErrorIs(c.t, syscall.Kill(v.pid(), 0), syscall.ESRCH, v.name)
	}
}

// found reads all that the workers may have written.
func (c *cluster) found(ctx context.Context, l *Ledger) (Found, error) {
	f := Found{Rows: map[Key]Row{}, Events: map[string]uint64{}}
	for _, q := range []struct {
		table Table
		query string
	}{
		{Steps, "SELECT run_id, step, state, log_seq FROM workflow_steps WHERE run_id LIKE 'agent/%' OR run_id LIKE 'probe/%'"},
		{Checkpoints, "SELECT checkpoint_id, 0, state, log_seq FROM workflow_checkpoints WHERE checkpoint_id LIKE 'agent/%'"},
		{CheckpointsV2, "SELECT run_id, step_id, state, log_seq FROM workflow_checkpoints_v2 WHERE run_id LIKE 'agent/%'"},
	} {
		if err := c.read(ctx, q.query, func(scan func(...any) error) error {
			k, state, seq := Key{Table: q.table}, []byte(nil), uint64(0)
			if err := scan(&k.ID, &k.Step, &state, &seq); err != nil {
				return err
			}
			f.Rows[k] = Row{Digest: l.Digest(state), Seq: seq}
			return nil
		}); err != nil {
			return f, err
		}
	}
	err := c.read(ctx, "SELECT id, log_seq FROM events_outbox WHERE run_id LIKE 'agent/%'", func(scan func(...any) error) error {
		id, seq := "", uint64(0)
		if err := scan(&id, &seq); err != nil {
			return err
		}
		f.Events[id] = seq
		return nil
	})
	return f, err
}

func (c *cluster) read(ctx context.Context, query string, row func(scan func(...any) error) error) error {
	rows, err := c.sql.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return fmt.Errorf("read row: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}
