// Package retention removes what has had its time: idempotency keys that guard nothing any more, and outbox events that were emitted. It is
// pure: its time can be virtual. Every replica sweeps; what one removed, the others do not find.
//
//	Start ──▶ sweep ──▶ pages, until one is not full ──▶ wait for the next ──▶ sweep …
package retention

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Table is what can be swept.
type Table string

// The tables.
const (
	// Keys are idempotency keys whose checkpoint is gone, or was replaced by one with another key. A key whose checkpoint is there stays,
	// however old it is: it would be used a second time.
	Keys Table = "idempotency_keys"
	// Events are outbox events that were emitted.
	Events Table = "events_outbox"
)

// Sweeper removes rows.
type Sweeper interface {
	// Sweep removes a page of the rows of table that are older than age by the database's clock, from the cursor after on, and returns how
	// many it removed and where to go on; next is "" when there is nothing more to look at. It blocks until answered or ctx ends.
	Sweep(ctx context.Context, table Table, age time.Duration, after string) (removed int64, next string, err error)
}

// Config says how long what is kept. Zero keeps it for ever.
type Config struct {
	Keys, Events time.Duration
	// Every is how often is swept. Default 10 min.
	Every time.Duration
	// Timeout bounds each page. Default 30 s.
	Timeout time.Duration
}

// Janitor sweeps from Start to Stop.
type Janitor struct {
	cfg     Config
	sweeper Sweeper
	log     *zap.Logger
	removed *prometheus.CounterVec

	mu      sync.Mutex // guards what follows
	cancel  context.CancelFunc
	done    chan struct{} // nil before Start
	stopped bool
}

// New prepares a janitor.
func New(cfg Config, sweeper Sweeper, reg prometheus.Registerer, log *zap.Logger) (*Janitor, error) {
	if cfg.Every == 0 {
		cfg.Every = 10 * time.Minute
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	j := &Janitor{cfg: cfg, sweeper: sweeper, log: log, removed: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "persistd", Subsystem: "retention", Name: "rows_removed_total", Help: "Rows that this replica removed because they had had their time, by table.",
	}, []string{"table"})}
	if err := reg.Register(j.removed); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return j, nil
}

// Start begins to sweep, if anything is to be.
func (j *Janitor) Start(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.stopped || j.done != nil {
		return errors.New("start retention: it lives once")
	}
	j.done = make(chan struct{})
	if j.cfg.Keys == 0 && j.cfg.Events == 0 {
		close(j.done)
		return nil
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	j.cancel = cancel
	go func() {
		defer close(j.done)
		j.run(life)
	}()
	return nil
}

// Stop ends it; a page under way is cut off, and removed or not. It is idempotent, and may be called before Start.
func (j *Janitor) Stop(context.Context) error {
	j.mu.Lock()
	j.stopped = true
	cancel, done := j.cancel, j.done
	j.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	if done != nil {
		<-done // bounded: all that run waits for ends with its ctx
	}
	return nil
}

func (j *Janitor) run(ctx context.Context) {
	for {
		// The replicas of a deployment start together, and need not sweep together.
		pause := j.cfg.Every/2 + rand.N(j.cfg.Every)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		for _, t := range []struct {
			table Table
			age   time.Duration
		}{{Keys, j.cfg.Keys}, {Events, j.cfg.Events}} {
			if t.age == 0 {
				continue
			}
			if err := j.sweep(ctx, t.table, t.age); err != nil && ctx.Err() == nil {
				j.log.Warn("old rows are not removed, trying again later", zap.String("table", string(t.table)), zap.Error(err))
			}
		}
	}
}

func (j *Janitor) sweep(ctx context.Context, table Table, age time.Duration) error {
	var total int64
	defer func() {
		if total > 0 {
			j.log.Info("removed old rows", zap.String("table", string(table)), zap.Int64("rows", total))
		}
	}()
	for after := ""; ; {
		n, next, err := j.page(ctx, table, age, after)
		total += n
		j.removed.WithLabelValues(string(table)).Add(float64(n))
		if err != nil || next == "" {
			return err
		}
		after = next
	}
}

func (j *Janitor) page(ctx context.Context, table Table, age time.Duration, after string) (int64, string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, j.cfg.Timeout, fmt.Errorf("page timed out after %s", j.cfg.Timeout))
	defer cancel()
	n, next, err := j.sweeper.Sweep(ctx, table, age, after)
	if err != nil {
		return n, next, fmt.Errorf("sweep %s: %w", table, err)
	}
	return n, next, nil
}
