package main

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/mysqlstore"
	"github.com/persistd/persistd/internal/partition"
	"github.com/persistd/persistd/internal/stream"
)

// errReplaced ends terms whose tables are being replaced under them.
var errReplaced = fmt.Errorf("table of the positions was made anew, the database is being restored: %w", partition.ErrAgain)

// replacing is what recovery knows of a dump that is loaded under it. A dump makes table after table anew, by its usual order the positions
// before most rows; what is committed in between goes into tables that are dropped next. A partition whose position the dump sets back reads
// it again anyway. One that the dump leaves where it was would not, and its commits of that time would be lost:
//
//	the table of the positions was made anew, and so was another   → end every term, remember the positions of the look before the first
//	until every table was, and none since the last look            → no term begins, and the replica is not ready
//	or all are there and none was made anew for an hour
//	a partition is further than what was remembered                → set it back to that: what came since is applied again
//
// Each replica remembers all partitions, also those that others read: a term that is ended may be followed by another replica's.
//
// The table of the positions alone may be one that somebody has altered. A process that dies in between forgets it: see [mysqlstore.Store.Unrestored] for what is left then.
type replacing struct {
	first map[string]time.Time // when each table was made, as of before a restore
	last  map[string]time.Time // as of the last look
	still time.Time            // since when nothing changes
	begun time.Time            // when the table of the positions was made anew; zero: it was not, or that is long ago
	under bool
	ended time.Time // the last restore
}

const (
	// forgetAlter is when a table made anew is one that was altered, and no part of a restore any more.
	forgetAlter = time.Hour
	// forgetPositions is for how long after the positions' table another one is waited for that tells a restore.
	forgetPositions = 10 * time.Minute
)

// replaced looks whether tables are being replaced. It is called by watch only.
func (r *recovery) replaced(ctx context.Context) {
	r.mu.Lock()
	before := append([]recovering(nil), r.parts...) // before the database is asked: what is known by then is from before a change that is seen
	r.mu.Unlock()
	made, err := r.store.TablesMade(ctx)
	if err != nil {
		return // the database check says so
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &r.tables
	quiet := t.look(made)
	switch {
	case !t.begun.IsZero() && !t.under && len(t.waiting()) < len(mysqlstore.RestorableTables)-1:
		t.under = true
		r.log.Warn("database is being restored: waiting for all of its tables", zap.Error(errReplaced))
		for p := range r.parts {
			at := &r.parts[p]
			at.setBack = true // also another's: which replica reads it next is open
			if at.reread != nil {
				at.reread(errReplaced)
			}
		}
	case t.over(quiet):
		t.under, t.first, t.begun, t.ended = false, made, time.Time{}, time.Now()
	case !t.under && time.Since(t.ended) > forgetPositions:
		for p := range r.parts {
			r.parts[p].setBack = false // others read it since, and set it back if need be
		}
	}
	if t.begun.IsZero() {
		for p := range r.parts {
			if !r.parts[p].setBack {
				r.parts[p].safe = before[p].known
			}
		}
	}
}

// look takes in when the tables were made, and reports whether that is as it was.
func (t *replacing) look(made map[string]time.Time) (quiet bool) {
	now := time.Now()
	if quiet = maps.EqualFunc(t.last, made, time.Time.Equal); !quiet {
		t.still = now
	}
	if t.last != nil && !t.last[mysqlstore.PositionsTable].Equal(made[mysqlstore.PositionsTable]) {
		t.begun = now
	}
	t.last = made
	if !t.under && now.Sub(t.begun) > forgetPositions {
		t.begun = time.Time{}
	}
	if t.first == nil || t.begun.IsZero() && now.Sub(t.still) > forgetAlter {
		t.first = made
	}
	return quiet
}

// over is whether the restore has ended: every table was made anew, or all are there and none was touched for so long that somebody rebuilt
// some of them, which looks the same. That sets positions back in vain, and no more.
func (t *replacing) over(quiet bool) bool {
	if !t.under || !quiet {
		return false
	}
	for _, name := range mysqlstore.RestorableTables {
		if _, there := t.last[name]; !there {
			return false
		}
	}
	return len(t.waiting()) == 0 || time.Since(t.still) > forgetAlter
}

// waiting are the tables that were not made anew.
func (t *replacing) waiting() (names []string) {
	for _, name := range mysqlstore.RestorableTables {
		if is, ok := t.last[name]; !ok || is.Equal(t.first[name]) {
			names = append(names, name)
		}
	}
	return names
}

// restoring is the readiness check: nil when no dump is being loaded, as far as is known.
func (r *recovery) restoring() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch names := r.tables.waiting(); {
	case !r.tables.under:
		return nil
	case len(names) == 0:
		return fmt.Errorf("database is being restored: its tables were all made anew a moment ago, it goes on by itself: %w", partition.ErrAgain)
	default:
		return fmt.Errorf("database is being restored: wait for %s (if they are not to be restored, start persistd again, or wait an hour): %w", strings.Join(names, ", "), partition.ErrAgain)
	}
}

// again lets a term begin when no restore is under way, and where it was before one was; but not before what was trimmed, which is committed
// and cannot be applied again.
func (r *recovery) again(ctx context.Context, p int, position uint64, mark stream.Mark) error {
	r.mu.Lock()
	at := r.parts[p]
	r.mu.Unlock()
	if err := r.restoring(); err != nil {
		return err
	}
	if mark.Created.Equal(r.stream.Created()) {
		at.safe = max(at.safe, mark.Trimmed.Sequence)
	}
	back := at.setBack && position > at.safe
	if back {
		if err := r.store.SetBack(ctx, p, position, at.safe); err != nil {
			return err //nolint:wrapcheck // it says what was set.
		}
	}
	r.mu.Lock()
	r.parts[p].setBack = false
	r.mu.Unlock()
	if back {
		return fmt.Errorf("position set back from %d to %d, to before the restore: %w", position, at.safe, errReplaced)
	}
	return nil
}
