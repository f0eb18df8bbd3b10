package ingest

import (
	"errors"
	"fmt"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

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
	def(&c.Heartbeat, 2*time.Second)
	def(&c.RequestTimeout, 5*time.Second)
	def(&c.MaxWait, 5*time.Second)
	def(&c.GoneAfter, 10*time.Second)
	if c.Jitter == 0 {
		c.Jitter = 0.5
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
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("check reader settings: %w", err)
	}
	return nil
}
