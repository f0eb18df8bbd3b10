package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/persistd/persistd/internal/wire"
)

// within reports whether a row's place is one that the comparison covers: in the window of the partition whose run it is. A named
// checkpoint may be from any partition, as a run's transaction saves it, too.
func (c *checker) within(k Key, run string, at Place) bool {
	switch {
	case at.Generation != c.deps.Database.Generation():
		return false
	case k.Table == Checkpoints:
		return len(c.cfg.Runs) == 0 && c.widest.has(at.Sequence)
	default:
		return c.cfg.Windows[c.partitionOf(run)].has(at.Sequence)
	}
}

func (c *checker) partitionOf(run string) int {
	return wire.Partition(c.cfg.Namespace, run, len(c.cfg.Windows))
}

// beyond says that a row is from beyond the position that its partition is at, if it is: nothing was committed there, so somebody else
// wrote that, and no write up to there will replace the row.
func (c *checker) beyond(k Key, run string, at Place, positions []uint64) string {
	if at.Generation != c.deps.Database.Generation() || len(positions) == 0 {
		return ""
	}
	end := slices.Max(positions)
	if k.Table != Checkpoints {
		end = positions[c.partitionOf(run)]
	}
	if at.Sequence <= end {
		return ""
	}
	return fmt.Sprintf("row says it was written at sequence %d, and the position is %d: no write before that will replace it", at.Sequence, end)
}

// scan looks through the tables: once to see in which buckets there are rows that only one side has, and where there are any, once more
// for what is in them.
func (c *checker) scan(ctx context.Context) error {
	for _, t := range Tables() {
		if err := c.eachClaim(ctx, t, c.firstLook); err != nil {
			return err
		}
	}
	if c.books.balanced() {
		return nil
	}
	for _, t := range Tables() {
		err := c.eachClaim(ctx, t, func(ctx context.Context, claims []Claim) error {
			for i := range claims {
				x := &claims[i]
				if !c.within(x.Key, x.RunID, x.Place) || !c.books.open(x.Key, x.Place) {
					continue
				}
				if err := c.question(ctx, x.Key, x.Place); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) eachClaim(ctx context.Context, t Table, do func(context.Context, []Claim) error) error {
	if t == Checkpoints && len(c.cfg.Runs) > 0 {
		return nil
	}
	for after := ""; ; {
		claims, next, err := c.deps.Database.Claims(ctx, t, c.cfg.Runs, after)
		if err != nil {
			return fmt.Errorf("look through %s: %w", t, err)
		}
		if err := do(ctx, claims); err != nil {
			return fmt.Errorf("look through %s: %w", t, err)
		}
		if next == "" {
			return nil
		}
		after = next
	}
}

// firstLook takes the rows of a page off the ledger, and finds those that need no look at the log: rows of a run from before it was deleted,
// and rows from beyond the position.
func (c *checker) firstLook(ctx context.Context, claims []Claim) error {
	positions, err := c.deps.Database.Positions(ctx) // after the rows were read: none of them is younger
	if err != nil {
		return fmt.Errorf("read positions: %w", err)
	}
	for i := range claims {
		x := &claims[i]
		within := c.within(x.Key, x.RunID, x.Place)
		if within {
			c.books.claimed(x.Key, x.Place)
		}
		c.mu.Lock()
		c.counts.Scanned++
		switch {
		case x.Place.Generation == 0:
			c.counts.Foreign++
			if c.cfg.Foreign {
				c.foundLocked(Finding{Kind: Extra, Key: x.Key, Place: x.Place, Detail: "row was not written by persistd"})
			}
		case x.Key.Table != Runs && x.Key.Table != Outbox && x.Place.Before(x.Deleted) && !within: // those within are found with their event
			c.foundLocked(Finding{Kind: Extra, Key: x.Key, Place: x.Place, Detail: "row is there although its run was deleted after it"})
		default:
			if why := c.beyond(x.Key, x.RunID, x.Place, positions); why != "" {
				c.foundLocked(Finding{Kind: Extra, Key: x.Key, Place: x.Place, Detail: why})
			}
		}
		c.mu.Unlock()
	}
	return nil
}

// question asks the log whether its event at a place writes a row that says so, and reports it when it does not.
func (c *checker) question(ctx context.Context, k Key, at Place) error {
	ev, found, err := c.deps.Log.Event(ctx, at.Sequence)
	if err != nil {
		return err //nolint:wrapcheck // it says what was looked for.
	}
	if !found { // trimmed since
		return nil
	}
	if writes(&ev, k, at) {
		return nil // written since, or found with its event
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.foundLocked(Finding{
		Kind: Extra, Key: k, Place: at, Partition: ev.Partition,
		Detail: fmt.Sprintf("row says it was written at sequence %d, and the event there does not write it", at.Sequence),
	})
	return nil
}

// writes reports whether ev writes the row of k, or is a place in it.
func writes(ev *wire.Event, k Key, at Place) bool {
	if k.Table == Runs {
		return ev.RunID == k.ID && (ev.Attempt > 0 || lastDelete(ev) >= 0)
	}
	for _, x := range rowsOf(ev, at) {
		if x.key == k {
			return true
		}
	}
	return false
}

// settleClaims asks the log about the rows whose later write was not met.
func (c *checker) settleClaims(ctx context.Context) error {
	positions, err := c.deps.Database.Positions(ctx)
	if err != nil {
		return fmt.Errorf("read positions: %w", err)
	}
	for k, x := range c.claims {
		if x.Place.Generation != c.deps.Database.Generation() {
			continue
		}
		if why := c.beyond(k, x.RunID, x.Place, positions); why != "" {
			c.mu.Lock()
			c.foundLocked(Finding{Kind: Extra, Key: k, Place: x.Place, Detail: why})
			c.mu.Unlock()
			continue
		}
		if err := c.question(ctx, k, x.Place); err != nil {
			return fmt.Errorf("look for what wrote %s: %w", k, err)
		}
	}
	return nil
}
