package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/wire"
)

const hintGap = "these events are in this database no more, and in no log: restore a later backup, or accept it with persistd recover --accept-gap"

// openGaps are the gaps that nobody has accepted, as far as this replica knows. While there are any, it is not ready:
//
//	start           → look, before the replica can be ready
//	record          → a new one is open from when it is in the database, and then it is said: who reads the log finds the replica not ready
//	every 4 seconds → look: others record gaps too, and somebody accepts them
type openGaps struct {
	store  *mysqlstore.Store
	stream string
	log    *zap.Logger

	mu   sync.Mutex // guards what follows; nothing blocks while it is held
	open []mysqlstore.Gap
	// begun counts looks and records as they begin to count, shown is the newest that open has: a look that began before is of the past.
	begun, shown uint64
	n            prometheus.Gauge // how many are open
}

func newOpenGaps(store *mysqlstore.Store, stream string, log *zap.Logger) *openGaps {
	return &openGaps{store: store, stream: stream, log: log, n: prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "persistd_gaps",
		Help: "Gaps that nobody has accepted: parts of the log that are neither in the database nor in the log any more.",
	})}
}

// record keeps a gap, and says so the first time.
func (g *openGaps) record(ctx context.Context, gap *mysqlstore.Gap) error {
	fresh, err := g.store.RecordGap(ctx, gap)
	if err != nil {
		return err //nolint:wrapcheck // it says what was recorded.
	}
	if !fresh {
		return g.look(ctx) // somebody may have accepted it
	}
	g.opened(gap)
	g.log.Error("events are lost: "+gap.Why, zap.Int("partition", gap.Partition), zap.Time("log_made_at", gap.Created),
		zap.Uint64("after", gap.After.Sequence), knownTime("after_logged", gap.After.Logged),
		zap.Uint64("through", gap.Through.Sequence), knownTime("through_logged", gap.Through.Logged), zap.String("hint", hintGap))
	return nil
}

// opened takes in a gap that was just recorded.
func (g *openGaps) opened(gap *mysqlstore.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun++
	open := g.open
	if !slices.ContainsFunc(open, func(known mysqlstore.Gap) bool { return sameGap(&known, gap) }) { // a look may have been faster
		open = append(slices.Clip(open), *gap)
	}
	g.showLocked(g.begun, open)
}

// sameGap is what the key of persistd_gaps says.
func sameGap(x, y *mysqlstore.Gap) bool {
	return x.Created.Equal(y.Created) && x.Partition == y.Partition && x.After.Sequence == y.After.Sequence && x.Through.Sequence == y.Through.Sequence
}

// look asks the database which gaps are open.
func (g *openGaps) look(ctx context.Context) error {
	found := g.begin()
	open, err := g.store.Gaps(ctx, g.stream, true)
	if err != nil {
		return err //nolint:wrapcheck // it says what was read.
	}
	found(open)
	return nil
}

// begin is called before the database is asked, and what it returns with the answer.
func (g *openGaps) begin() (found func([]mysqlstore.Gap)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun++
	begun := g.begun
	return func(open []mysqlstore.Gap) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.showLocked(begun, open)
	}
}

// showLocked takes in what a look found, or a record made of what was there, unless something that began later is known already.
func (g *openGaps) showLocked(begun uint64, open []mysqlstore.Gap) {
	if begun < g.shown {
		return
	}
	g.shown, g.open = begun, open
	g.n.Set(float64(len(open)))
}

// check is the readiness check: nil when there is no gap that nobody has accepted.
func (g *openGaps) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.open) == 0 {
		return nil
	}
	var all []string
	for i := range g.open {
		if i == 3 {
			all = append(all, fmt.Sprintf("and %d more", len(g.open)-i))
			break
		}
		all = append(all, describeGap(&g.open[i]))
	}
	return fmt.Errorf("events are lost: %s (%s)", strings.Join(all, "; "), hintGap)
}

// describeGap is a gap in words.
func describeGap(g *mysqlstore.Gap) string {
	which := "all partitions"
	if g.Partition >= 0 {
		which = fmt.Sprintf("partition %d", g.Partition)
	}
	return fmt.Sprintf("%s after %s through %s", which, describePlace(g.After), describePlace(g.Through))
}

func describePlace(p wire.Place) string {
	if p.Logged.IsZero() {
		return fmt.Sprint(p.Sequence)
	}
	return fmt.Sprintf("%d (%s)", p.Sequence, p.Logged.UTC().Format(time.RFC3339))
}
