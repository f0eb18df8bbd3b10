package partition

import (
	"cmp"
	"maps"
	"slices"
)

// shares is how many of the partitions each replica is to have, given how many each has. They add up to all of them and differ by one at
// most. One more than the others get those that have most now, so that nothing moves without need, and, of those that have the same, the
// first by name. Who sees the same comes to the same.
func shares(partitions int, has map[string]int) map[string]int {
	names := slices.SortedFunc(maps.Keys(has), func(a, b string) int {
		return cmp.Or(cmp.Compare(has[b], has[a]), cmp.Compare(a, b))
	})
	each := make(map[string]int, len(names))
	for i, name := range names {
		each[name] = partitions / len(names)
		if i < partitions%len(names) {
			each[name]++
		}
	}
	return each
}

// activity is what a worker is about.
type activity int

const (
	idle      activity = iota // it may be told to acquire its partition
	acquiring                 // it was
	applying                  // it has a term
	giving                    // the term is being handed over
	resting                   // after a failure, before it is idle again
)

// plan is what a replica does about what it sees.
type plan struct {
	// shares and has are by replica, what it is to have and has.
	shares, has map[string]int
	// reclaim are partitions that a dead predecessor of the same name holds, and take those that are free and fall to this replica.
	reclaim, take []int
	// give is how many to hand over now.
	give int
}

// planFor decides. mine is what this replica's workers are about, reclaimable whether a lease under its own name is a dead predecessor's.
//
//	never above the share by taking, never below it by giving: with the same replicas there, each step brings the spread nearer to
//	the shares, and at the shares there are no steps
//
// The shares follow from the database alone, so that all that see the same agree; what this replica is about it knows better itself. What is
// free falls to those that are below their share, in order of their names, so that they seldom go for the same one. A replica that is above
// its share gives while others lack more than is free already: a few at a time, so that little is without an owner should they not take it.
func planFor(v View, mine []activity, reclaimable []bool) plan {
	p := plan{has: map[string]int{v.Self: 0}}
	for name := range v.Replicas {
		p.has[name] = 0
	}
	var free []int
	have, taking, given := 0, 0, 0
	for no, lease := range v.Leases {
		if _, there := p.has[lease.Owner]; there && !lease.free() {
			p.has[lease.Owner]++
		}
		switch {
		case mine[no] == acquiring && !lease.free() && lease.Owner != v.Self: // another was faster
		case mine[no] == acquiring:
			taking++
		case mine[no] == applying:
			have++
		case mine[no] == giving:
			given++
		case lease.free():
			free = append(free, no)
		case lease.Owner == v.Self && reclaimable[no]:
			have++
			if mine[no] == idle {
				p.reclaim = append(p.reclaim, no)
			}
		default: // another's; or one of another process of our name, or that could not be released
		}
	}
	p.shares = shares(len(v.Leases), p.has)

	lack, before := 0, 0 // of the others, and of those of them that come first
	for name, n := range p.shares {
		if name == v.Self {
			continue
		}
		lack += max(0, n-p.has[name])
		if name < v.Self {
			before += max(0, n-p.has[name])
		}
	}
	short := p.shares[v.Self] - have - taking
	for _, no := range free[min(before, len(free)):] {
		if mine[no] == idle && len(p.take) < short {
			p.take = append(p.take, no)
		}
	}
	if excess := -short; excess > 0 && taking == 0 { // what is being taken may come to nothing
		open := len(free) + given
		p.give = max(0, min(excess, lack-open, 1+excess/8-open))
	}
	return p
}
