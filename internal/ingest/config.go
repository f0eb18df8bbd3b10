package ingest

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// maxPartitions is how many a log has at most.
const maxPartitions = 256

// Config says what to read, and how far ahead.
type Config struct {
	// Stream is the log's name; required.
	Stream string
	// Created is when the log was made, in whole microseconds; required. A stream of that name that was made at another moment is
	// another log, and is not read.
	Created time.Time
	// Subjects derives the log's subjects; required.
	Subjects wire.Subjects
	// ReadAheadMessages and ReadAheadBytes bound what a reader takes from the log before it is delivered, per partition. Defaults
	// 256 messages and 2 MiB. A partition's memory is these bytes; compressed bodies grow when they are decoded, one at a time, and
	// the parts of one transaction are held until it is complete: 64 MiB at most, decompressed, beside their compressed bodies.
	// The bytes are raised to what one message can have (the server's max_payload and 64 KiB of headers).
	ReadAheadMessages, ReadAheadBytes int
	// Partitions is how many the log has. Where it is more than one, a Reader that has all of them and is far behind reads them through one
	// consumer; at most 256. Zero: never.
	Partitions int
	// Sharing says when it does.
	Sharing Sharing
	// Heartbeat is how often the server shows on an idle reader that it is there; after two and a half of them without a sign the
	// reader starts again. Default 2 s.
	Heartbeat time.Duration
	// RequestTimeout bounds each request to the server. Default 5 s.
	RequestTimeout time.Duration
	// MaxWait is the longest wait between attempts while the server is away. The first is 50 ms. Default 5 s.
	MaxWait time.Duration
	// Jitter is the random part of those waits, from 0 (none) to 1. Default 0.5; negative means none.
	Jitter float64
	// GoneAfter is how long the server must say that there is no such stream before the reader believes it; a cluster that starts
	// may say so for a moment. Default 10 s.
	GoneAfter time.Duration
}

// Sharing says when the partitions are read through one consumer.
type Sharing struct {
	// Backlog is how many messages must be behind, all partitions together, for it to be worth it. Default 10,000.
	Backlog uint64
	// Apart is how far from each other partitions may be, in messages of the log: the consumer begins at the one that is furthest behind. Default
	// 20,000.
	Apart uint64
	// Gather is how long partitions wait for each other at the beginning. Default 500 ms.
	Gather time.Duration
	// Stall is how long a partition waits for another one that takes nothing. Default 1 s.
	Stall time.Duration
	// Pause and MaxPause are for how long it is not tried again when it is over. Each time that it did not come about, or a
	// partition stalled, or the consumer failed, doubles the pause. Defaults 10 s and 5 min.
	Pause, MaxPause time.Duration
}

// pullMessages and pullBytes bound a pull of the shared consumer; tapeMessages and tapeBytes what is read and not yet taken by all. Together they
// are less than what private consumers may have.
func (c Config) pullMessages() int { return min(max(1, c.Partitions*c.ReadAheadMessages/4), 1024) }
func (c Config) pullBytes() int    { return min(max(1, c.Partitions*c.ReadAheadBytes/4), 4<<20) }
func (c Config) tapeMessages() int { return min(max(1, c.Partitions*c.ReadAheadMessages/2), 4096) }
func (c Config) tapeBytes() int    { return min(max(1, c.Partitions*c.ReadAheadBytes/2), 16<<20) }

// silence is longer than any between heartbeats.
func (c Config) silence() time.Duration { return c.Heartbeat * 5 / 2 }

// WithDefaults returns a copy of c with the defaults in place of zeros.
func (c Config) WithDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.ReadAheadMessages == 0 {
		c.ReadAheadMessages = 256
	}
	if c.ReadAheadBytes == 0 {
		c.ReadAheadBytes = 2 << 20
	}
	c.Sharing = c.Sharing.withDefaults()
	def(&c.Heartbeat, 2*time.Second)
	def(&c.RequestTimeout, 5*time.Second)
	def(&c.MaxWait, 5*time.Second)
	def(&c.GoneAfter, 10*time.Second)
	if c.Jitter == 0 {
		c.Jitter = 0.5
	}
	return c
}

func (s Sharing) withDefaults() Sharing {
	return Sharing{
		Backlog: cmp.Or(s.Backlog, 10_000), Apart: cmp.Or(s.Apart, 20_000), Gather: cmp.Or(s.Gather, 500*time.Millisecond),
		Stall: cmp.Or(s.Stall, time.Second), Pause: cmp.Or(s.Pause, 10*time.Second), MaxPause: cmp.Or(s.MaxPause, 5*time.Minute),
	}
}

// Validate reports everything that is wrong with c, which has its defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.Stream != "", "stream: want a name")
	bad(!c.Created.IsZero() && c.Created.Equal(c.Created.Truncate(time.Microsecond)), "created %s: want a time in whole microseconds", c.Created)
	bad(c.Subjects.Prefix != "", "subject prefix: want one")
	bad(c.ReadAheadMessages > 0, "read-ahead messages %d: want at least 1", c.ReadAheadMessages)
	bad(c.ReadAheadBytes > 0, "read-ahead bytes %d: want at least 1", c.ReadAheadBytes)
	bad(c.Heartbeat >= 100*time.Millisecond, "heartbeat %s: want at least 100ms", c.Heartbeat)
	bad(c.RequestTimeout > 0, "request timeout %s: want more than 0", c.RequestTimeout)
	bad(c.MaxWait > 0, "longest wait %s: want more than 0", c.MaxWait)
	bad(c.Jitter <= 1, "jitter %g: want at most 1", c.Jitter)
	bad(c.GoneAfter > 0, "gone after %s: want more than 0", c.GoneAfter)
	bad(c.Partitions >= 0 && c.Partitions <= maxPartitions, "partitions %d: want 0 to %d", c.Partitions, maxPartitions)
	bad(c.Sharing.Backlog > 0, "sharing's backlog 0: want at least 1 message")
	bad(c.Sharing.Apart > 0, "sharing's distance 0: want at least 1 message")
	bad(c.Sharing.Gather > 0, "sharing's time to gather %s: want more than 0", c.Sharing.Gather)
	bad(c.Sharing.Stall > 0, "sharing's patience with a partition that takes nothing %s: want more than 0", c.Sharing.Stall)
	bad(c.Sharing.Pause > 0 && c.Sharing.MaxPause >= c.Sharing.Pause,
		"sharing's pauses %s to %s: want more than 0, and the longest not less than the first", c.Sharing.Pause, c.Sharing.MaxPause)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check reader settings: %w", err)
	}
	return nil
}
