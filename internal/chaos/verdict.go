package chaos

import (
	"fmt"
	"maps"
	"slices"
)

// Row is a row as it was found.
type Row struct {
	Digest Digest
	// Seq is the place in the log of what wrote it last.
	Seq uint64
}

// Found is what the tables hold.
type Found struct {
	Rows map[Key]Row
	// Events are the places in the log of the outbox's events, by id.
	Events map[string]uint64
	// Twice are rows that an event wrote more than once, and Back positions that went back, in words.
	Twice, Back []string
}

// Verdict is a ledger against what was found.
type Verdict struct {
	Units, Acked, Unknown, Refused int
	// Rows and Events are how many were found.
	Rows, Events int
	// UnknownThere are units of unknown outcome that are there, as they may.
	UnknownThere int

	// What must not be:
	Lost    int // a row of an acknowledged unit is not there, or an event of it
	Altered int // a row holds what nobody wrote, or is one that nobody wrote
	Older   int // a row holds an older value than an acknowledged one
	Half    int // a part of a unit is there and a part is not
	Ghosts  int // a unit is there of which the worker was told that it is not
	Swapped int // of two units of one lane the earlier has the later place in the log
	Twice   int // an event was applied again
	Back    int // a position went back

	// Examples are some of these, in words.
	Examples []string
}

// Clean is whether there is nothing that must not be.
func (v Verdict) Clean() bool {
	return v.Lost+v.Altered+v.Older+v.Half+v.Ghosts+v.Swapped+v.Twice+v.Back == 0
}

// maxExamples is how many are told.
const maxExamples = 20

func (v *Verdict) wrong(n *int, format string, args ...any) {
	*n++
	if len(v.Examples) < maxExamples {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// Check holds the ledger against what was found. What nobody wrote but others than the ledger's workers is not to be in found.
//
//	of each row:   whose value is it? it must be the last acknowledged one's, or a later one's that is not refused
//	of each unit that is there in part: all its rows hold it or a later one, all its events are there, all at one place in the log
//	of each lane:  the places in the log rise as the calls were made
func (l *Ledger) Check(found Found) Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := Verdict{Rows: len(found.Rows), Events: len(found.Events)}
	for _, what := range found.Twice {
		v.wrong(&v.Twice, "%s", what)
	}
	for _, what := range found.Back {
		v.wrong(&v.Back, "%s", what)
	}
	known, events := 0, 0
	for _, name := range slices.Sorted(maps.Keys(l.owners)) {
		c := ownerCheck{v: &v, found: found, owner: l.owners[name], seq: map[*Unit]uint64{}, holder: map[Key]*Unit{}}
		known += c.rows()
		events += c.units()
		c.lanes()
	}
	if known < len(found.Rows) {
		v.wrong(&v.Altered, "%d rows were written by nobody", len(found.Rows)-known)
		v.Altered += len(found.Rows) - known - 1
	}
	if events < len(found.Events) {
		v.wrong(&v.Altered, "%d events were written by nobody", len(found.Events)-events)
	}
	return v
}

// ownerCheck is the check of one owner's units.
type ownerCheck struct {
	v     *Verdict
	found Found
	owner *owner
	// seq is where the units are in the log of which something was found; holder is the unit whose value a row holds.
	seq    map[*Unit]uint64
	holder map[Key]*Unit
}

// rows finds out whose value each row holds, and returns how many of the owner's rows were found.
func (c *ownerCheck) rows() (known int) {
	writers := map[Key][]*Unit{}
	for _, u := range c.owner.units {
		for k := range u.rows {
			writers[k] = append(writers[k], u)
		}
	}
	for k, units := range writers {
		var last *Unit // the last one acknowledged
		for _, u := range units {
			if u.outcome == Acked {
				last = u
			}
		}
		row, there := c.found.Rows[k]
		if !there {
			if last != nil {
				c.v.wrong(&c.v.Lost, "%s is not there: unit %d was acknowledged", k, last.No)
			}
			continue
		}
		known++
		i := slices.IndexFunc(units, func(u *Unit) bool { return u.rows[k] == row.Digest })
		if i < 0 {
			c.v.wrong(&c.v.Altered, "%s (log %d) holds what none of its %d writers wrote", k, row.Seq, len(units))
			continue
		}
		u := units[i]
		c.holder[k] = u
		switch {
		case u.outcome == Refused:
			c.v.wrong(&c.v.Ghosts, "%s (log %d) holds unit %d, which was refused", k, row.Seq, u.No)
		case last != nil && u.No < last.No && !u.straggles(last):
			c.v.wrong(&c.v.Older, "%s (log %d) holds unit %d, and unit %d was acknowledged after it", k, row.Seq, u.No, last.No)
		}
		c.placed(u, row.Seq, k.String())
	}
	return known
}

// straggles is whether u may come after a later unit: nobody knew its outcome, and its client died before the later one's was made.
func (u *Unit) straggles(later *Unit) bool {
	return (u.outcome == Unknown || u.outcome == Open) && u.Life < later.Life && !u.Fenced
}

// placed notes where u is in the log.
func (c *ownerCheck) placed(u *Unit, seq uint64, what string) {
	if at, ok := c.seq[u]; ok && at != seq {
		c.v.wrong(&c.v.Half, "unit %d of %s is at %d in the log, and by %s at %d", u.No, c.owner.name, at, what, seq)
	}
	c.seq[u] = seq
}

// units looks whether each is whole, and returns how many events there are.
func (c *ownerCheck) units() (events int) {
	for _, u := range c.owner.units {
		c.v.Units++
		switch u.outcome {
		case Acked:
			c.v.Acked++
		case Open, Unknown:
			c.v.Unknown++
		case Refused:
			c.v.Refused++
		}
		missing := 0
		for _, id := range u.events {
			seq, there := c.found.Events[id]
			if !there {
				missing++
				continue
			}
			events++
			c.placed(u, seq, "event "+id)
		}
		_, there := c.seq[u]
		if there && (u.outcome == Unknown || u.outcome == Open) {
			c.v.UnknownThere++
		}
		if missing < len(u.events) && u.outcome == Refused { // its rows may hold later units by now: the events stay
			c.v.wrong(&c.v.Ghosts, "unit %d of %s, which was refused, has %d of its %d events", u.No, c.owner.name, len(u.events)-missing, len(u.events))
		}
		switch {
		case u.outcome == Acked && missing > 0:
			c.v.wrong(&c.v.Lost, "unit %d of %s was acknowledged and lacks %d of %d events", u.No, c.owner.name, missing, len(u.events))
		case there && missing > 0:
			c.v.wrong(&c.v.Half, "unit %d of %s is there and lacks %d of %d events", u.No, c.owner.name, missing, len(u.events))
		}
		if there {
			c.whole(u)
		}
	}
	return events
}

// whole requires of a unit that is there that each of its rows is, with its value or a later one.
func (c *ownerCheck) whole(u *Unit) {
	for k := range u.rows {
		switch by := c.holder[k]; {
		case by == u:
		case by == nil:
			if _, there := c.found.Rows[k]; !there {
				c.v.wrong(&c.v.Half, "unit %d of %s is there, but not its %s", u.No, c.owner.name, k)
			}
		case by.No < u.No && !by.straggles(u):
			c.v.wrong(&c.v.Half, "unit %d of %s is there, but %s holds unit %d", u.No, c.owner.name, k, by.No)
		}
	}
}

// lanes requires the places in the log to rise, lane by lane.
func (c *ownerCheck) lanes() {
	last := map[string]*Unit{}
	for _, u := range c.owner.units {
		seq, there := c.seq[u]
		if !there {
			continue
		}
		if before := last[u.Lane]; before != nil && seq <= c.seq[before] && !before.straggles(u) {
			c.v.wrong(&c.v.Swapped, "units %d and %d of %s are at %d and %d in the log", before.No, u.No, c.owner.name, c.seq[before], seq)
		}
		last[u.Lane] = u
	}
}
