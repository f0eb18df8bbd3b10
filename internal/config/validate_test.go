package config_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/config"
)

func TestDefaultsNeedOnlyADatabase(t *testing.T) {
	t.Parallel()
	require.EqualError(t, config.Default().Validate(),
		"mysql.dsn: must be set, in mysql.dsn, mysql.dsn_file or MYSQL_DSN: user:password@tcp(host:3306)/database")
	require.NoError(t, valid().Validate())
}

func TestAnInstanceWithoutANameIsHostAndProcess(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host+":"+strconv.Itoa(os.Getpid()), config.Default().Instance)
	require.Equal(t, "pod-0", mustLoad(t, environment{"PERSISTD_INSTANCE": "pod-0"}).Instance)
}

// Each row breaks one rule of a valid configuration; all rows together must then be reported together.
func TestEveryRule(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name  string
		spoil func(*config.Config)
		want  string
	}{
		{"an instance with a space", func(c *config.Config) { c.Instance = "a b" }, `instance: must be 1..255 visible ASCII characters (got "a b")`},
		{"an instance too long for its column", func(c *config.Config) { c.Instance = strings.Repeat("x", 256) }, "instance: must be 1..255"},
		{"no server", func(c *config.Config) { c.NATS.URL = "" }, `nats.url: must be a comma-separated list of nats://host:port; server 1 is not (got "")`},
		{"a server that is none", func(c *config.Config) { c.NATS.URL = "nats://a:4222,nats://b:x" }, "server 2 is not"},
		{"a server of another kind", func(c *config.Config) { c.NATS.URL = "http://a:4222" }, "nats.url: server 1 must begin with nats://, tls://, ws://, wss:// (got http://a:4222)"},
		{"a user without a password", func(c *config.Config) { c.NATS.User = "u" }, "nats.user: needs nats.password (got u)"},
		{"a password without a user", func(c *config.Config) { c.NATS.Password = "p" }, "nats.password: needs nats.user"},
		{"a token and a user", func(c *config.Config) { c.NATS.Token, c.NATS.User, c.NATS.Password = "t", "u", "p" }, "nats.token: excludes nats.user"},
		{"credentials and a token", func(c *config.Config) { c.NATS.CredsFile, c.NATS.Token = "f", "t" }, "nats.creds_file: excludes nats.user and nats.token (got f)"},
		{"a certificate without its key", func(c *config.Config) { c.NATS.TLSCert = "c" }, "nats.tls_cert: needs nats.tls_key (got c)"},
		{"a key without its certificate", func(c *config.Config) { c.NATS.TLSKey = "k" }, "nats.tls_key: needs nats.tls_cert (got k)"},
		{"no time to connect to NATS", func(c *config.Config) { c.NATS.ConnectTimeout = 0 }, "nats.connect_timeout: must be above 0 (got 0s)"},
		{"a stream name with a dot", func(c *config.Config) { c.Stream.Name = "A.B" }, "stream.name: must be 1..255 of A-Z a-z 0-9 _ - (got A.B)"},
		{"a prefix of two tokens", func(c *config.Config) { c.Stream.Prefix = "a.b" }, "stream.prefix: must be one subject token"},
		{"a prefix that is a wildcard", func(c *config.Config) { c.Stream.Prefix = "*" }, "stream.prefix: must be one subject token"},
		{"no copy", func(c *config.Config) { c.Stream.Replicas = 0 }, "stream.replicas: must be 1, 3 or 5 (got 0)"},
		{"more copies than NATS makes", func(c *config.Config) { c.Stream.Replicas = 6 }, "stream.replicas: must be 1, 3 or 5 (got 6)"},
		{"no partition", func(c *config.Config) { c.Stream.Partitions = 0 }, "stream.partitions: must be 1..256 (got 0)"},
		{"too many partitions", func(c *config.Config) { c.Stream.Partitions = 257 }, "stream.partitions: must be 1..256 (got 257)"},
		{"a log of one byte", func(c *config.Config) { c.Stream.MaxBytes = 1 }, "stream.max_bytes: must be 0 or at least 64MiB (got 1)"},
		{"a replay window in the future", func(c *config.Config) { c.Stream.ReplayWindow = -1 }, "stream.replay_window: must not be below 0 (got -1ns)"},
		{"trimming without a pause", func(c *config.Config) { c.Stream.TrimInterval = 0 }, "stream.trim_interval: must be above 0 (got 0s)"},
		{"no duplicate window", func(c *config.Config) { c.Stream.DuplicateWindow = 0 }, "stream.duplicate_window: must be at least 1s (got 0s)"},
		{"no data source name", func(c *config.Config) { c.MySQL.DSN = "" }, "mysql.dsn: must be set"},
		{"a data source name without a database", func(c *config.Config) { c.MySQL.DSN = "u:p@tcp(h)/" }, "mysql.dsn: must name a database after the slash"},
		{"a data source name without a slash", func(c *config.Config) { c.MySQL.DSN = "u:p@tcp(h)" }, "missing the slash separating the database name"},
		{"no writer", func(c *config.Config) { c.MySQL.Writers = 0 }, "mysql.writers: must be 1..256 (got 0)"},
		{"no reader", func(c *config.Config) { c.MySQL.Readers = 0 }, "mysql.readers: must be 1..1024 (got 0)"},
		{"a migration mode that is a typo", func(c *config.Config) { c.MySQL.Migrate = "atuo" }, "mysql.migrate: must be auto or off (got atuo)"},
		{"no time to connect to MySQL", func(c *config.Config) { c.MySQL.ConnectTimeout = 0 }, "mysql.connect_timeout: must be above 0 (got 0s)"},
		{"connecting takes longer than the lease", func(c *config.Config) { c.MySQL.ConnectTimeout = 10 * time.Second }, "mysql.connect_timeout: must be below lease.duration, 10s"},
		{"no time to commit", func(c *config.Config) { c.MySQL.CommitTimeout = 0 }, "mysql.commit_timeout: must be above 0 (got 0s)"},
		{"batches without rows", func(c *config.Config) { c.Batch.Rows = 0 }, "batch.rows: must be 1..10000 (got 0)"},
		{"batches with too many rows", func(c *config.Config) { c.Batch.Rows = 10_001 }, "batch.rows: must be 1..10000 (got 10001)"},
		{"batches of a byte", func(c *config.Config) { c.Batch.Bytes = 1 }, "batch.bytes: must be 0 or at least 64KiB (got 1)"},
		{"batches larger than the queue", func(c *config.Config) { c.Batch.Bytes = 4 << 20 }, "batch.bytes: must not be above batch.queue_bytes, 2MiB"},
		{"a linger below zero", func(c *config.Config) { c.Batch.Linger = -1 }, "batch.linger: must be 0s..1s (got -1ns)"},
		{"a linger that looks like an outage", func(c *config.Config) { c.Batch.Linger = 2 * time.Second }, "batch.linger: must be 0s..1s (got 2s)"},
		{"no queue", func(c *config.Config) { c.Batch.QueueBytes = 0 }, "batch.queue_bytes: must be at least 1MiB (got 0)"},
		{"retries without a pause", func(c *config.Config) { c.Retry.Min = 0 }, "retry.min: must be above 0 (got 0s)"},
		{"retries that get faster", func(c *config.Config) { c.Retry.Max = time.Millisecond }, "retry.max: must be at least retry.min, 50ms (got 1ms)"},
		{"a lease of nothing", func(c *config.Config) { c.Lease.Duration = 0 }, "lease.duration: must be 1s..10m (got 0s)"},
		{"a lease of a day", func(c *config.Config) { c.Lease.Duration = 24 * time.Hour }, "lease.duration: must be 1s..10m (got 24h)"},
		{"a circuit that is a typo", func(c *config.Config) { c.Poison.Circuit = "of" }, "poison.circuit: must be on or off (got of)"},
		{"no pause between probes", func(c *config.Config) { c.Poison.Probe = 0 }, "poison.probe: must be above 0 (got 0s)"},
		{"no room for dead letters", func(c *config.Config) { c.Poison.MaxBytes = 16 << 20 }, "poison.max_bytes: must be 0 or at least 80MiB (got 16MiB)"},
		{"an address without a port", func(c *config.Config) { c.HTTP.Listen = "0.0.0.0" }, "http.listen: must be host:port (got 0.0.0.0)"},
		{"no address", func(c *config.Config) { c.HTTP.Listen = "" }, `http.listen: must be host:port (got "")`},
		{"a port that is none", func(c *config.Config) { c.HTTP.Listen = ":http" }, "http.listen: must have a port 0..65535 (got :http)"},
		{"a profiler for everybody", func(c *config.Config) { c.Pprof.Listen = ":6060" }, "pprof.listen: must be on a loopback address"},
		{"a profiler for the network", func(c *config.Config) { c.Pprof.Listen = "10.0.0.1:6060" }, "pprof.listen: must be on a loopback address"},
		{"a profiler without a port", func(c *config.Config) { c.Pprof.Listen = "localhost" }, "pprof.listen: must be host:port"},
		{"draining in the past", func(c *config.Config) { c.Shutdown.DrainTimeout = -1 }, "shutdown.drain_timeout: must not be below 0 (got -1ns)"},
		{"no time to return", func(c *config.Config) { c.Shutdown.HardTimeout = 0 }, "shutdown.hard_timeout: must be above 0 (got 0s)"},
		{"a level that is a typo", func(c *config.Config) { c.Log.Level = "wran" }, "log.level: must be debug or info or warn or error (got wran)"},
		{"a format nobody writes", func(c *config.Config) { c.Log.Format = "xml" }, "log.format: must be json or console (got xml)"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c := valid()
			row.spoil(&c)
			require.ErrorContains(t, c.Validate(), row.want)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		err := config.Config{}.Validate()
		require.Error(t, err)
		for _, path := range []string{
			"instance", "nats.url", "nats.connect_timeout", "stream.name", "stream.prefix", "stream.replicas",
			"stream.partitions", "stream.trim_interval", "stream.duplicate_window", "mysql.dsn", "mysql.writers", "mysql.readers",
			"mysql.migrate", "mysql.connect_timeout", "mysql.commit_timeout", "batch.rows", "batch.queue_bytes", "retry.min",
			"lease.duration", "http.listen", "shutdown.hard_timeout", "log.level", "log.format",
		} {
			require.Contains(t, "\n"+err.Error(), "\n"+path+": ")
		}
	})
}

func TestZeroesThatMeanSomethingAreValid(t *testing.T) {
	t.Parallel()
	c := valid()
	c.Stream.MaxBytes, c.Stream.ReplayWindow, c.Batch.Bytes, c.Shutdown.DrainTimeout, c.Pprof.Listen = 0, 0, 0, 0, ""
	require.NoError(t, c.Validate())
	c.HTTP.Listen, c.Pprof.Listen, c.NATS.URL = "[::1]:0", "[::1]:6060", "a:4222, tls://b"
	require.NoError(t, c.Validate())
	c.Pprof.Listen = "localhost:6060"
	require.NoError(t, c.Validate())
}
