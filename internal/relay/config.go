package relay

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Config says how a relay works. The zero value of a field but Holder means its default.
type Config struct {
	// Holder is the name that the leases are in: this replica's, at most 200 characters, to which a number may be added. It has no default.
	Holder string
	// Batch is how many events are claimed at a time, at most. Default 500; at most 1000.
	Batch int
	// Parallel is how many runs are published side by side. Default 16.
	Parallel int
	// Lease is how long claimed events are this relay's; it must be long enough to publish and mark a batch. Default 15 s.
	Lease time.Duration
	// Interval is how often the outbox is looked at when nothing says that something was committed. Default 250 ms.
	Interval time.Duration
	// Timeout bounds each request to the database. Default 10 s.
	Timeout time.Duration
	// RetryMin and RetryMax are the first and the longest pause after a failure; the pause doubles. Defaults 50 ms and 5 s.
	RetryMin, RetryMax time.Duration
}

// WithDefaults returns c with every zero field set to its default.
func (c Config) WithDefaults() Config {
	setDefault(&c.Batch, 500)
	setDefault(&c.Parallel, 16)
	setDefault(&c.Lease, 15*time.Second)
	setDefault(&c.Interval, 250*time.Millisecond)
	setDefault(&c.Timeout, 10*time.Second)
	setDefault(&c.RetryMin, 50*time.Millisecond)
	setDefault(&c.RetryMax, 5*time.Second)
	return c
}

// Validate reports everything that is wrong with c, which must have its defaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(ok bool, field string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("relay config %s: %s (got %v)", field, want, value))
		}
	}
	bad(c.Holder != "", "Holder", c.Holder, "must not be empty")
	bad(utf8.RuneCountInString(c.Holder) <= 200, "Holder", c.Holder, "must have at most 200 characters")
	bad(c.Batch >= 1 && c.Batch <= 1000, "Batch", c.Batch, "must be 1 to 1000")
	bad(c.Parallel >= 1, "Parallel", c.Parallel, "must be positive")
	bad(c.Lease >= time.Second, "Lease", c.Lease, "must be at least 1s")
	bad(c.Interval > 0, "Interval", c.Interval, "must be positive")
	bad(c.Timeout > 0, "Timeout", c.Timeout, "must be positive")
	bad(c.RetryMin > 0, "RetryMin", c.RetryMin, "must be positive")
	bad(c.RetryMax >= c.RetryMin, "RetryMax", c.RetryMax, "must be at least RetryMin")
	return errors.Join(errs...)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
