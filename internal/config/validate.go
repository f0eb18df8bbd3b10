package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate reports every rule that is broken, each with the setting's path and value; secrets are never part of it.
func (c Config) Validate() error {
	var v violations
	v.check(len(c.Instance) <= 255 && instanceName.MatchString(c.Instance), "instance",
		"must be 1..255 visible ASCII characters", c.Instance)
	c.validateNATS(&v)
	c.validateStream(&v)
	c.validateMySQL(&v)
	c.validateBatches(&v)
	c.validatePoison(&v)
	c.validateRelay(&v)
	c.validateRetention(&v)
	c.validateOutside(&v)
	return errors.Join(v...)
}

var (
	instanceName = regexp.MustCompile(`^[!-~]+$`)
	streamName   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
	subjectToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
)

func (c Config) validateNATS(v *violations) {
	n := c.NATS
	if err := checkURLs(n.URL); err != nil {
		v.add("nats.url", err.Error(), maskURLs(n.URL))
	}
	v.check(n.User == "" || n.Password != "", "nats.user", "needs nats.password", n.User)
	v.rule(n.Password == "" || n.User != "", "nats.password", "needs nats.user")
	v.rule(n.Token == "" || n.User == "", "nats.token", "excludes nats.user")
	v.check(n.CredsFile == "" || n.User == "" && n.Token == "", "nats.creds_file", "excludes nats.user and nats.token", n.CredsFile)
	v.check(n.TLSCert == "" || n.TLSKey != "", "nats.tls_cert", "needs nats.tls_key", n.TLSCert)
	v.check(n.TLSKey == "" || n.TLSCert != "", "nats.tls_key", "needs nats.tls_cert", n.TLSKey)
	v.positive("nats.connect_timeout", n.ConnectTimeout)
}

func (c Config) validateStream(v *violations) {
	s := c.Stream
	v.check(streamName.MatchString(s.Name), "stream.name", "must be 1..255 of A-Z a-z 0-9 _ -", s.Name)
	v.check(subjectToken.MatchString(s.Prefix), "stream.prefix", "must be one subject token, 1..64 of A-Z a-z 0-9 _ -", s.Prefix)
	v.check(s.Replicas == 1 || s.Replicas == 3 || s.Replicas == 5, "stream.replicas", "must be 1, 3 or 5", s.Replicas)
	v.between("stream.partitions", s.Partitions, 1, 256)
	v.check(s.MaxBytes == 0 || s.MaxBytes >= 64<<20, "stream.max_bytes", "must be 0 or at least 64MiB", s.MaxBytes)
	v.check(s.ReplayWindow >= 0, "stream.replay_window", "must not be below 0", ShowDuration(s.ReplayWindow))
	v.positive("stream.trim_interval", s.TrimInterval)
	v.check(s.DuplicateWindow >= time.Second, "stream.duplicate_window", "must be at least 1s", ShowDuration(s.DuplicateWindow))
}

func (c Config) validateMySQL(v *violations) {
	m := c.MySQL
	if err := checkDSN(m.DSN); err != nil {
		v.rule(false, "mysql.dsn", err.Error())
	}
	v.between("mysql.writers", m.Writers, 1, 256)
	v.between("mysql.readers", m.Readers, 1, 1024)
	v.oneOf("mysql.migrate", m.Migrate, "auto", "off")
	v.positive("mysql.connect_timeout", m.ConnectTimeout)
	v.check(m.ConnectTimeout < c.Lease.Duration, "mysql.connect_timeout",
		fmt.Sprintf("must be below lease.duration, %s, or one slow attempt loses the lease", ShowDuration(c.Lease.Duration)),
		ShowDuration(m.ConnectTimeout))
	v.positive("mysql.commit_timeout", m.CommitTimeout)
}

func (c Config) validateBatches(v *violations) {
	b, r, l := c.Batch, c.Retry, c.Lease
	v.between("batch.rows", b.Rows, 1, 10_000)
	v.check(b.Bytes == 0 || b.Bytes >= 64<<10, "batch.bytes", "must be 0 or at least 64KiB", b.Bytes)
	v.check(b.Bytes <= b.QueueBytes, "batch.bytes",
		fmt.Sprintf("must not be above batch.queue_bytes, %s, or no batch is ever that large", b.QueueBytes), b.Bytes)
	v.check(b.Linger >= 0 && b.Linger <= time.Second, "batch.linger", "must be 0s..1s", ShowDuration(b.Linger))
	v.check(b.QueueBytes >= 1<<20, "batch.queue_bytes", "must be at least 1MiB", b.QueueBytes)
	v.positive("retry.min", r.Min)
	v.check(r.Max >= r.Min, "retry.max", "must be at least retry.min, "+ShowDuration(r.Min), ShowDuration(r.Max))
	v.check(l.Duration >= time.Second && l.Duration <= 10*time.Minute, "lease.duration", "must be 1s..10m", ShowDuration(l.Duration))
}

func (c Config) validateRelay(v *violations) {
	r := c.Relay
	v.oneOf("relay.mode", r.Mode, "off", "on")
	v.between("relay.batch", r.Batch, 1, 1000)
	v.check(r.Lease >= time.Second, "relay.lease", "must be at least 1s", ShowDuration(r.Lease))
	v.positive("relay.interval", r.Interval)
	v.check(r.MaxBytes == 0 || r.MaxBytes >= 16<<20, "relay.max_bytes", "must be 0 or at least 16MiB", r.MaxBytes)
	v.check(r.MaxAge >= 0, "relay.max_age", "must not be below 0", ShowDuration(r.MaxAge))
}

func (c Config) validatePoison(v *violations) {
	p := c.Poison
	v.oneOf("poison.circuit", p.Circuit, "on", "off")
	v.positive("poison.probe", p.Probe)
	v.check(p.MaxBytes == 0 || p.MaxBytes >= 80<<20, "poison.max_bytes", "must be 0 or at least 80MiB", p.MaxBytes)
}

func (c Config) validateRetention(v *violations) {
	r := c.Retention
	v.check(r.IdempotencyKeys == 0 || r.IdempotencyKeys >= max(c.Stream.ReplayWindow, 1), "retention.idempotency_keys",
		"must be 0 or at least stream.replay_window, "+ShowDuration(c.Stream.ReplayWindow)+", or a replay would use a key twice", ShowDuration(r.IdempotencyKeys))
	v.check(r.EmittedEvents >= 0, "retention.emitted_events", "must not be below 0", ShowDuration(r.EmittedEvents))
	v.positive("retention.interval", r.Interval)
}

// validateOutside is about what the machine around the daemon sees: ports, signals, logs.
func (c Config) validateOutside(v *violations) {
	if _, err := splitListen(c.HTTP.Listen); err != nil {
		v.add("http.listen", err.Error(), c.HTTP.Listen)
	}
	if c.Pprof.Listen != "" {
		host, err := splitListen(c.Pprof.Listen)
		switch ip := net.ParseIP(host); {
		case err != nil:
			v.add("pprof.listen", err.Error(), c.Pprof.Listen)
		case host != "localhost" && (ip == nil || !ip.IsLoopback()):
			v.add("pprof.listen", "must be on a loopback address, like 127.0.0.1:6060", c.Pprof.Listen)
		}
	}
	v.check(c.Shutdown.DrainTimeout >= 0, "shutdown.drain_timeout", "must not be below 0", ShowDuration(c.Shutdown.DrainTimeout))
	v.positive("shutdown.hard_timeout", c.Shutdown.HardTimeout)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "json", "console")
}

// splitListen checks an address to listen on and returns its host.
func splitListen(addr string) (host string, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", errors.New("must be host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return "", errors.New("must have a port 0..65535")
	}
	return host, nil
}

type violations []error

func (v *violations) add(path, rule string, got any) {
	*v = append(*v, fmt.Errorf("%s: %s (got %v)", path, rule, quoted(got)))
}

func quoted(got any) any {
	if s, ok := got.(string); ok && (s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' })) {
		return strconv.Quote(s)
	}
	return got
}

func (v *violations) check(ok bool, path, rule string, got any) {
	if !ok {
		v.add(path, rule, got)
	}
}

// rule is check for a value that must not be shown.
func (v *violations) rule(ok bool, path, rule string) {
	if !ok {
		*v = append(*v, fmt.Errorf("%s: %s", path, rule))
	}
}

func (v *violations) between(path string, got, low, high int) {
	v.check(got >= low && got <= high, path, fmt.Sprintf("must be %d..%d", low, high), got)
}

func (v *violations) positive(path string, got time.Duration) {
	v.check(got > 0, path, "must be above 0", ShowDuration(got))
}

func (v *violations) oneOf(path, got string, want ...string) {
	v.check(slices.Contains(want, got), path, "must be "+strings.Join(want, " or "), got)
}
