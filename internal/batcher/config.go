package batcher

import (
	"errors"
	"fmt"
	"time"
)

// Config says how large a batch may grow and how patiently it is retried. The zero value of a field means its default.
type Config struct {
	// MaxRows bounds a batch's rows. Default 1000: beyond it a multi-row insert gains nothing. An event with more rows goes alone.
	MaxRows int
	// MaxBytes bounds a batch's bytes. Default half of QueueBytes: then one batch fills while another commits. A larger event goes alone.
	MaxBytes int
	// QueueBytes bounds the events held in memory, the batch being committed included; Add blocks above it. Default
	// 2 MiB: a batch of 1000 steps of 1 KiB in flight, and half of the next read. More would be more for the collector to keep and nothing for the
	// database, as other partitions have batches that wait. A larger single event is let in alone: of a transaction
	// in parts that is up to 64 MiB, and as much compressed.
	QueueBytes int64
	// Linger is the least time between the beginnings of two commits of which nothing is urgent: a batch that is not full waits for what is
	// left of it, so that it grows. [Batcher.Urge] says what is urgent. Zero, or less, is none: batches grow only while others commit.
	Linger time.Duration
	// RetryMin and RetryMax are the first and the longest pause between two attempts; the pause doubles. Defaults 50 ms and 5 s.
	RetryMin, RetryMax time.Duration
	// Jitter is the random part of a pause, from 0 (none) to 1. Default 0.5; negative means none.
	Jitter float64
	// AttemptTimeout bounds one attempt to commit or to keep dead letters, together with a second for each MiB of the events: the
	// largest transaction, 64 MiB, has 94 s by default. An attempt that is cut off is made again from its beginning, so a database
	// that needs longer never gets there; but one that deletes runs, whose events do not show how much that is, gets twice the time then, and so
	// on up to 16 times. Default 30 s.
	AttemptTimeout time.Duration
}

// WithDefaults returns c with every zero field set to its default.
func (c Config) WithDefaults() Config {
	setDefault(&c.MaxRows, 1000)
	setDefault(&c.QueueBytes, 2<<20)
	setDefault(&c.MaxBytes, int(c.QueueBytes/2))
	setDefault(&c.RetryMin, 50*time.Millisecond)
	setDefault(&c.RetryMax, 5*time.Second)
	setDefault(&c.Jitter, 0.5)
	setDefault(&c.AttemptTimeout, 30*time.Second)
	if c.Jitter < 0 {
		c.Jitter = 0
	}
	return c
}

// Validate reports everything that is wrong with c, which must have its defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("batcher config %s: %s (got %v)", field, want, value))
		}
	}
	bad(c.MaxRows > 0, "MaxRows", c.MaxRows, "must be positive")
	bad(c.MaxBytes > 0, "MaxBytes", c.MaxBytes, "must be positive")
	bad(c.QueueBytes >= int64(c.MaxBytes), "QueueBytes", c.QueueBytes, "must be at least MaxBytes, or no batch could fill")
	bad(c.RetryMin > 0, "RetryMin", c.RetryMin, "must be positive")
	bad(c.RetryMax >= c.RetryMin, "RetryMax", c.RetryMax, "must be at least RetryMin")
	bad(c.Jitter <= 1, "Jitter", c.Jitter, "must be at most 1")
	bad(c.AttemptTimeout > 0, "AttemptTimeout", c.AttemptTimeout, "must be positive")
	return errors.Join(errs...)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
