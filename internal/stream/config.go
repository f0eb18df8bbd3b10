package stream

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// Config says what the log shall be. The zero value is the default.
type Config struct {
	// Name is the stream's name. Default PERSISTD. The dead letters are in the stream <Name>_DLQ.
	Name string
	// Subjects derives the subjects; the prefix is "persistd" by default. Two logs on one server need two prefixes.
	Subjects wire.Subjects
	// Replicas is on how many servers the log is kept: 1, 3 or 5. Default 1. A stream that has fewer is given more; one that has
	// more keeps them.
	Replicas int
	// Partitions is into how many partitions a new log is divided. Default 8. A log that exists keeps what it was made with.
	Partitions int
	// MaxBytes is how large the log may grow, in bytes, before publishers get an error. Zero is, for a new log, 10 GiB or half of
	// what the account may still store, whichever is less; and for one that exists, what it has. A log that allows less is raised
	// to it; one that allows more keeps it.
	//
	// What is free is known to a client only where the account has a limit. Of an account without one the server tells nothing
	// but refuses what is over its max_file_store (by default 3/4 of the free disk): then it is asked for half, until it agrees.
	// The least that the streams beside the log need, 88 MiB, is had first.
	MaxBytes int64
	// DeadLetterBytes is how large the stream of dead letters may grow, in bytes. Zero is, for a new one, a sixteenth of the log's
	// limit, at least 80 MiB (the letters of the largest transaction in parts) and at most 1 GiB; 80 MiB where there is no room for
	// more. A stream that allows less is raised to it, or to 80 MiB where the account has room.
	DeadLetterBytes int64
	// DuplicateWindow is how long the server remembers message ids. A publisher that retries for longer may write an event twice.
	// Default 2 min: at 2,800 events/s and about 125 B an id, 42 MB of the server's memory. Raised in a log that exists, never lowered.
	DuplicateWindow time.Duration
	// RequestTimeout bounds each request to the server. Default 5 s.
	RequestTimeout time.Duration
}

// The defaults, and the limits of what may be configured.
const (
	defaultName     = "PERSISTD"
	defaultMaxBytes = 10 << 30

	// minMaxBytes holds nine events of the largest size; less than that is a log in name only.
	minMaxBytes = 64 << 20
	// maxPartitions keeps the partition rows, readers and leases countable.
	maxPartitions = 256
	// metadata of the stream: what was decided when it was made.
	metaPartitions = "persistd.partitions"
	metaFormat     = "persistd.format"
	// format is the version of what the log holds. A later one may mean events that this persistd would misread.
	format = 1
)

// WithDefaults returns a copy of c with the defaults in place of zeros.
func (c Config) WithDefaults() Config {
	if c.Name == "" {
		c.Name = defaultName
	}
	if c.Subjects.Prefix == "" {
		c.Subjects.Prefix = "persistd"
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.Partitions == 0 {
		c.Partitions = 8
	}
	if c.DuplicateWindow == 0 {
		c.DuplicateWindow = 2 * time.Minute
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = 5 * time.Second
	}
	return c
}

// Validate reports everything that is wrong with c, which has its defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Name != "" && !strings.ContainsAny(c.Name, ".*> \t\r\n\f/\\"), "name %q: want a name without dots, wildcards, blanks and slashes", c.Name)
	bad(validPrefix(c.Subjects.Prefix), "subject prefix %q: want tokens of letters, digits, _ and -, with dots between them", c.Subjects.Prefix)
	bad(c.Replicas == 1 || c.Replicas == 3 || c.Replicas == 5, "replicas %d: want 1, 3 or 5", c.Replicas)
	bad(c.Partitions >= 1 && c.Partitions <= maxPartitions, "partitions %d: want 1 to %d", c.Partitions, maxPartitions)
	bad(c.MaxBytes == 0 || c.MaxBytes >= minMaxBytes, "max bytes %d: want 0, or at least %d", c.MaxBytes, minMaxBytes)
	bad(c.DeadLetterBytes == 0 || c.DeadLetterBytes >= minDeadLetterBytes, "dead letter bytes %d: want 0, or at least %d", c.DeadLetterBytes, minDeadLetterBytes)
	bad(c.DuplicateWindow >= time.Second, "duplicate window %s: want at least 1s", c.DuplicateWindow)
	bad(c.RequestTimeout > 0, "request timeout %s: want more than 0", c.RequestTimeout)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check stream settings: %w", err)
	}
	return nil
}

// validPrefix reports whether every dot-separated token of p is there and plain; $ would be the server's.
func validPrefix(p string) bool {
	for token := range strings.SplitSeq(p, ".") {
		if token == "" || token != wire.Token(token) {
			return false
		}
	}
	return true
}
