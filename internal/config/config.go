// Package config is the one configuration of the daemon: every setting, its default, its rules and its documentation.
//
// A setting is one field of one struct below. From that field alone come the flag (--batch-rows), the environment
// variable (PERSISTD_BATCH_ROWS), the key of the YAML file (batch: {rows: …}), the help text and docs/configuration.md:
//
//	               flag  >  environment  >  YAML file  >  default
//	                 └───────────┴──────┬──────┴─────────────┘
//	kong.New(&cli, Options(env)…)     Flags        what a command embeds; kong fills it
//	                                    │ Complete   reads the secrets' files, names the instance
//	                                  Config       what the daemon is wired from; never changed again
//	                                    │ Validate   every rule that is broken, not the first
//
// The comment of a field is its documentation, shown by --help: meaning, unit, and what zero means; the default stands in
// its tag. An environment variable that is empty counts as not set, as does a key without a value in the file.
package config

import "time"

// Config is everything that can be set. It is plain data: New functions copy what they need.
type Config struct {
	// Name of this replica, unique among those on one log. Empty means <hostname>:<pid>. With a stable name, such as the
	// pod's, a restarted process takes its own leases back at once instead of waiting for them to run out.
	Instance string `name:"instance"`

	NATS      NATS      `embed:"" prefix:"nats-" group:"NATS"`
	Stream    Stream    `embed:"" prefix:"stream-" group:"The log"`
	MySQL     MySQL     `embed:"" prefix:"mysql-" group:"MySQL"`
	Batch     Batch     `embed:"" prefix:"batch-" group:"Batches"`
	Retry     Retry     `embed:"" prefix:"retry-" group:"Retries"`
	Lease     Lease     `embed:"" prefix:"lease-" group:"Leases"`
	Poison    Poison    `embed:"" prefix:"poison-" group:"Dead letters"`
	Relay     Relay     `embed:"" prefix:"relay-" group:"Outbox relay"`
	Retention Retention `embed:"" prefix:"retention-" group:"Retention"`
	HTTP      HTTP      `embed:"" prefix:"http-" group:"HTTP"`
	Pprof     Pprof     `embed:"" prefix:"pprof-" group:"Profiling"`
	Shutdown  Shutdown  `embed:"" prefix:"shutdown-" group:"Shutdown"`
	Log       Log       `embed:"" prefix:"log-" group:"Logging"`
}

// NATS is how to reach the servers that keep the log.
type NATS struct {
	// Servers to connect to, comma separated: nats://, tls://, ws:// or wss://. One that answers is enough; the others of
	// its cluster are found through it.
	URL string `name:"url" default:"nats://127.0.0.1:4222"`
	// File with the user's JWT and seed, as nsc and nats write it. Empty means none. Excludes user and token.
	CredsFile string `name:"creds-file"`
	// User to log in as. Empty means none. Needs a password.
	User string `name:"user"`
	// Password of the user. Empty means none.
	Password Secret `name:"password"`
	// File that holds the password, read once at start; a trailing newline is ignored. Excludes password.
	PasswordFile string `name:"password-file" secret:"nats.password"`
	// Token to log in with. Empty means none. Excludes user.
	Token Secret `name:"token"`
	// File that holds the token, read once at start; a trailing newline is ignored. Excludes token.
	TokenFile string `name:"token-file" secret:"nats.token"`
	// PEM file of the authorities that may have signed the servers' certificates. Empty means the system's.
	TLSCA string `name:"tls-ca"`
	// PEM file of the certificate shown to the servers. Empty means none. Needs tls_key.
	TLSCert string `name:"tls-cert"`
	// PEM file of that certificate's key. Needs tls_cert.
	TLSKey string `name:"tls-key"`
	// How long one attempt to connect may take, greeting included. Must be above zero.
	ConnectTimeout time.Duration `name:"connect-timeout" default:"5s"`
}

// Stream is the log: what is made when it does not exist yet, and checked when it does.
type Stream struct {
	// Name of the JetStream stream.
	Name string `name:"name" default:"PERSISTD"`
	// First token of every subject: <prefix>.write.<namespace>… and <prefix>.log.<partition>….
	Prefix string `name:"prefix" default:"persistd"`
	// Servers that hold a copy: 1, 3 or 5. Three survive the loss of one without losing what was acknowledged.
	Replicas int `name:"replicas" default:"1"`
	// Partitions of the log, 1 to 256: how many commits can be in flight at most. Fixed for the life of the stream.
	Partitions int `name:"partitions" default:"8"`
	// Bytes the log may hold, at least 64MiB. When it is full, publishers get an error and nothing is dropped. Zero means 10 GiB or half of
	// what the server has free, whichever is less.
	MaxBytes Bytes `name:"max-bytes" default:"0"`
	// How long committed events stay in the log, so that a database restored from a backup of that age heals itself. Zero
	// means they are trimmed as soon as they are committed.
	ReplayWindow time.Duration `name:"replay-window" default:"24h"`
	// How often committed events older than the replay window are looked for and trimmed. Must be above zero.
	TrimInterval time.Duration `name:"trim-interval" default:"1m"`
	// How long the server remembers message ids, and so how late a retried publish may come without being written twice.
	// Costs the server about 125 bytes of memory per event published in that time. At least 1s.
	DuplicateWindow time.Duration `name:"duplicate-window" default:"2m"`
}

// MySQL is the database, MySQL or MariaDB.
type MySQL struct {
	// Data source name as go-sql-driver/mysql documents it: user:password@tcp(host:3306)/database?param=value. Required,
	// with a database name. When neither it nor dsn_file is set, the environment variable MYSQL_DSN is used. Of a cluster it may
	// have the addresses of several nodes, tcp(first:3306,second:3306): one is worked on, the first that serves; when it fails, the next.
	DSN Secret `name:"dsn"`
	// File that holds the data source name, read once at start; a trailing newline is ignored. Excludes dsn.
	DSNFile string `name:"dsn-file" secret:"mysql.dsn"`
	// Commits in flight at most, each on a connection of its own, 1 to 256; small ones of several partitions are one. More than there are partitions is never used.
	Writers int `name:"writers" default:"4"`
	// Connections for reads at most, 1 to 1024.
	Readers int `name:"readers" default:"8"`
	// What to do about the schema at start: auto brings it up to date, waiting for other replicas doing the same; off
	// changes nothing and needs no CREATE or ALTER rights. With either, a schema that is too old or too new is refused.
	Migrate string `name:"migrate" default:"auto"`
	// How long one attempt to connect may take. Must be above zero and below lease.duration.
	ConnectTimeout time.Duration `name:"connect-timeout" default:"5s"`
	// How long one attempt to commit a batch may take, with a second more for each MiB of it (a transaction in parts has up to
	// 64); after that it is given up and tried again. Must be above zero.
	CommitTimeout time.Duration `name:"commit-timeout" default:"30s"`
}

// Batch bounds what is committed together and what waits for it.
type Batch struct {
	// Rows in one batch at most, 1 to 10000. A single event with more is still one batch, for it is never split.
	Rows int `name:"rows" default:"1000"`
	// Bytes in one batch at most, at least 64KiB. Zero means half of queue_bytes, so that one batch is read while another commits.
	Bytes Bytes `name:"bytes" default:"0"`
	// Bytes of events held in memory per partition, at least 1MiB; reading from the log pauses above. All partitions
	// together, 8 × 2MiB = 16MiB by default, and as much for reading ahead, are what an outage of the database can cost in memory.
	QueueBytes Bytes `name:"queue-bytes" default:"2MiB"`
	// Least time between the beginnings of two commits of a partition, at most 1s: under load, batches are larger for it and cost the database less,
	// and what nobody waits for is seen by SQL that much later. The first step after a rest does not wait, nor does a batch that is full, nor what
	// somebody waits for: durability committed, or a read that needs it in MySQL and that the partition's owner answers. Zero means none.
	Linger time.Duration `name:"linger" default:"50ms"`
}

// Retry paces the attempts to commit while the database is away. There is no last attempt.
type Retry struct {
	// Pause after the first attempt; it doubles, with jitter, up to max. Must be above zero.
	Min time.Duration `name:"min" default:"50ms"`
	// Longest pause between two attempts, before jitter, which makes it up to half as long again; so late is the
	// database's return noticed. At least min.
	Max time.Duration `name:"max" default:"5s"`
}

// Lease is how replicas agree on who owns a partition.
type Lease struct {
	// How long a partition stays with an owner that is no longer heard of, 1s to 10m. It is renewed at a third of that. A replica that is told
	// to stop hands over at once, however long it is.
	Duration time.Duration `name:"duration" default:"10s"`
}

// Poison is what is done with events that can never be applied.
type Poison struct {
	// on stops writing dead letters when nearly every event is poison (90 % of the last 4000, or of four full batches if those are larger, and
	// at least 100): the replica is then not ready, and waits for somebody to mend what is wrong. off keeps all poison as dead letters, however much it is.
	Circuit string `name:"circuit" default:"on"`
	// While it is stopped, how often one letter is written all the same, so as to see what is behind it. Must be above zero.
	Probe time.Duration `name:"probe" default:"30s"`
	// Bytes the stream of dead letters may hold, at least 80MiB; one that allows less is raised. Zero means a sixteenth of the log's limit, at least
	// 80MiB and at most 1GiB, should persistd make it. When it is full, partitions wait at their poison.
	MaxBytes Bytes `name:"max-bytes" default:"0"`
}

// Relay publishes outbox events once they are committed.
type Relay struct {
	// on publishes committed outbox events to <prefix>.events.<token> and marks them as emitted: at least once each, in order per run; several
	// replicas may do it at once. off leaves the outbox to whoever reads it.
	Mode string `name:"mode" default:"off"`
	// Events claimed at a time, 1 to 1000.
	Batch int `name:"batch" default:"500"`
	// How long claimed events are this replica's, at least 1s. Those of one that died are published by another after that.
	Lease time.Duration `name:"lease" default:"15s"`
	// How often the outbox is looked at when nothing was committed here. Must be above zero.
	Interval time.Duration `name:"interval" default:"250ms"`
	// Bytes the stream of relayed events may hold, at least 16MiB, should persistd make it. Zero means 1 GiB or half of what the server has free,
	// whichever is less. When it is full, the relay waits.
	MaxBytes Bytes `name:"max-bytes" default:"0"`
	// How long relayed events stay in that stream. Zero means until somebody removes them.
	MaxAge time.Duration `name:"max-age" default:"72h"`
}

// Retention removes what has had its time. Runs are removed by persistd runs delete.
type Retention struct {
	// How old an idempotency key becomes at least before it is removed; one whose checkpoint is still there is kept beyond that. Not less than
	// stream.replay_window. Zero keeps all.
	IdempotencyKeys time.Duration `name:"idempotency-keys" default:"0s"`
	// How long outbox events are kept after they were emitted. Zero keeps all.
	EmittedEvents time.Duration `name:"emitted-events" default:"0s"`
	// How often is looked for what is older, give or take half of it. Must be above zero.
	Interval time.Duration `name:"interval" default:"10m"`
}

// HTTP is the side seen from outside: /livez, /readyz, /startupz, /metrics.
type HTTP struct {
	// Address to listen on, host:port. Without a host, all interfaces; port 0 takes a free one.
	Listen string `name:"listen" default:":8080"`
}

// Pprof is the profiler of the Go runtime.
type Pprof struct {
	// Address for /debug/pprof/, host:port; loopback only, since a profile shows what is in memory. Empty means off.
	Listen string `name:"listen"`
}

// Shutdown bounds what happens after SIGTERM. Whatever is not committed stays in the log.
type Shutdown struct {
	// How long to go on committing what has been read from the log. Zero means not at all.
	DrainTimeout time.Duration `name:"drain-timeout" default:"20s"`
	// How long to wait after that for what was cancelled to return. Must be above zero. The grace period of whoever sends
	// the signal must be longer than both together.
	HardTimeout time.Duration `name:"hard-timeout" default:"5s"`
}

// Log is what the daemon says about itself. States and secrets never appear in it.
type Log struct {
	// Least level that is written: debug, info, warn or error.
	Level string `name:"level" default:"info"`
	// json for machines, console for people.
	Format string `name:"format" default:"json"`
}
