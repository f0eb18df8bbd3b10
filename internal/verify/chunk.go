package verify

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/persistd/persistd/internal/wire"
)

// partition compares the events of a partition.
func (c *checker) partition(ctx context.Context, p int, w Window) error {
	var (
		held  []wire.Event
		size  int
		whole bool // an event was seen that is no part without its others
	)
	flush := func(ctx context.Context) error {
		if len(held) == 0 {
			return nil
		}
		err := c.chunk(ctx, held)
		held, size = held[:0], 0
		return err
	}
	err := c.deps.Log.Range(ctx, p, w.After, w.Until, func(ctx context.Context, ev wire.Event) error {
		if c.deps.Seen != nil {
			c.deps.Seen(1)
		}
		orphan := ev.Poison != nil && ev.Poison.Code == wire.CodePart && ev.Part.No > 1
		if whole = whole || !orphan; !whole || !c.wanted(&ev) {
			return nil // an orphan at the beginning may have been whole before the log was trimmed
		}
		if len(held) > 0 && size+ev.Size > chunkBytes {
			if err := flush(ctx); err != nil {
				return err
			}
		}
		held, size = append(held, ev), size+ev.Size
		if len(held) >= chunkEvents {
			return flush(ctx)
		}
		return nil
	})
	if err == nil {
		err = flush(ctx)
	}
	if err != nil {
		return fmt.Errorf("compare partition %d: %w", p, err)
	}
	return nil
}

// wanted reports whether ev is one of those that are compared.
func (c *checker) wanted(ev *wire.Event) bool {
	token := ev.Token()
	switch {
	case len(c.cfg.Runs) > 0:
		return c.runs[token] && ev.Kind != wire.KindCheckpoint
	case c.cfg.Sample >= 1:
		return true
	}
	h := fnv.New32a() // all of a run, or nothing of it
	_, _ = h.Write([]byte(token))
	return float64(h.Sum32()) < c.cfg.Sample*(1<<32)
}

// chunk compares events, in their order.
func (c *checker) chunk(ctx context.Context, events []wire.Event) error {
	again, err := c.look(ctx, events, false)
	if err != nil || len(again) == 0 {
		return err
	}
	if err := c.pause(ctx); err != nil {
		return err
	}
	_, err = c.look(ctx, again, true)
	return err
}

// pause waits a moment, for a replica that is behind or a row that is being removed.
func (c *checker) pause(ctx context.Context) error {
	c.mu.Lock()
	c.pauses++
	enough := c.pauses > longestPauses || c.cfg.Pause < 0
	c.mu.Unlock()
	if enough {
		return nil
	}
	t := time.NewTimer(c.cfg.Pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// look compares events. Those that have something that is not explained are returned; final reports it instead.
func (c *checker) look(ctx context.Context, events []wire.Event, final bool) (again []wire.Event, err error) {
	w, err := c.world(ctx, events)
	if err != nil {
		return nil, err
	}
	for i := range events {
		j := w.judge(&events[i])
		letter := false
		if suspects(j.suspects) {
			if letter, err = c.letter(ctx, &events[i]); err != nil {
				return nil, err
			}
		}
		if letter {
			j.suspects = unexplained(j.suspects)
		}
		if len(j.suspects) > 0 && !final {
			again = append(again, events[i])
			continue
		}
		c.settle(&j, letter)
	}
	return again, nil
}

// suspects reports whether a dead letter would explain any of the findings.
func suspects(findings []Finding) bool { return len(unexplained(findings)) < len(findings) }

// unexplained are the findings that no dead letter explains: an event that was never applied leaves no row.
func unexplained(findings []Finding) (rest []Finding) {
	for _, f := range findings {
		if f.Kind == Extra || f.Kind == Different {
			rest = append(rest, f)
		}
	}
	return rest
}

func (c *checker) letter(ctx context.Context, ev *wire.Event) (bool, error) {
	_, found, err := c.deps.Letters.DeadLetter(ctx, ev.Partition, ev.Message.Sequence)
	if err != nil {
		return false, fmt.Errorf("look for the dead letter of event %d: %w", ev.Message.Sequence, err)
	}
	return found, nil
}

// world reads what the events are compared with: the rows first, the runs afterwards.
func (c *checker) world(ctx context.Context, events []wire.Event) (*world, error) {
	w := &world{
		generation: c.deps.Database.Generation(), numbers: c.cfg.Numbers, now: time.Now(), keysKept: c.cfg.KeysKept, eventsKept: c.cfg.EventsKept,
	}
	var (
		keys []Key
		runs []string
	)
	seen, known := map[Key]bool{}, map[string]bool{}
	for i := range events {
		ev := &events[i]
		for _, x := range rowsOf(ev, Place{}) {
			if !seen[x.key] {
				seen[x.key] = true
				keys = append(keys, x.key)
			}
		}
		if id := ev.RunID; id != "" && !known[id] {
			known[id] = true
			runs = append(runs, id)
		}
	}
	var err error
	if w.rows, err = c.deps.Database.Rows(ctx, keys, events[0].Message.Sequence, events[len(events)-1].Message.Sequence); err != nil {
		return nil, fmt.Errorf("read rows: %w", err)
	}
	if w.runs, err = c.deps.Database.Runs(ctx, runs); err != nil {
		return nil, fmt.Errorf("read runs: %w", err)
	}
	return w, nil
}

// settle counts an event, reports what is found, and notes what it explains.
func (c *checker) settle(j *judgement, letter bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &c.counts
	n.Events++
	n.Rows += int64(j.compared)
	n.Superseded += int64(j.superseded)
	for _, is := range []struct {
		what bool
		n    *int64
	}{{letter, &n.Letters}, {j.duplicate, &n.Duplicates}, {j.deleted, &n.Deleted}, {j.untold, &n.Untold}} {
		if is.what {
			*is.n++
		}
	}
	for _, f := range j.suspects {
		c.foundLocked(f)
	}
	for _, x := range j.explained {
		if c.books == nil {
			if c.claims[x.key].Place == x.row.Place {
				delete(c.claims, x.key)
			}
		} else if c.within(x.key, x.owner, x.row.Place) {
			c.books.explained(x.key, x.row.Place)
		}
	}
	if c.books == nil {
		for _, x := range j.later {
			c.claims[x.Key] = x
		}
	}
}

// foundLocked reports a finding: of each kind one of a row, however many events are about it.
func (c *checker) foundLocked(f Finding) {
	r := reported{kind: f.Kind, key: f.Key}
	if f.Kind == Letter { // is about an event
		r.sequence = f.Place.Sequence
	}
	if c.reported[r] {
		return
	}
	if len(c.reported) < mostReported {
		c.reported[r] = true
	}
	c.counts.Findings[f.Kind]++
	c.deps.Found(f)
}

// reported is what was found already. Beyond so many of them nobody minds one that is counted twice.
type reported struct {
	kind     Kind
	key      Key
	sequence uint64
}

const mostReported = 100_000
