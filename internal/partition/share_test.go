package partition

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSharesDifferByOneAndAddUpAndMoveLittle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		partitions := rapid.IntRange(1, 70).Draw(t, "partitions")
		has := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,3}`), rapid.IntRange(0, 70), 1, 12).Draw(t, "has")
		each := shares(partitions, has)
		require.Len(t, each, len(has))
		sum, more := 0, 0
		for name, n := range each {
			sum += n
			require.Contains(t, []int{partitions / len(has), partitions/len(has) + 1}, n)
			if n > partitions/len(has) {
				more++
				for other, m := range each { // those with one more have no less than those without
					require.False(t, m < n && has[other] > has[name], "%s has fewer than %s, and is to have more", name, other)
				}
			}
		}
		require.Equal(t, partitions, sum)
		require.Equal(t, partitions%len(has), more)
	})
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const run = time.Second
	held := func(owners ...string) (all []Lease) {
		for _, o := range owners {
			l := Lease{Owner: o, Left: run}
			if o == "dead" || o == "" {
				l.Left = -run
			}
			all = append(all, l)
		}
		return all
	}
	for name, row := range map[string]struct {
		others      []string // that are there beside b
		leases      []Lease
		mine        []activity
		reclaimable bool
		reclaim     []int
		take        []int
		give        int
	}{
		"alone, it takes all that is free": {leases: held("", "dead", "x"), take: []int{0, 1}},
		"what is being acquired is not taken again": {
			leases: held("", "", ""), mine: []activity{acquiring, idle, resting}, take: []int{1},
		},
		"a predecessor's are reclaimed, above the share, too": {
			others: []string{"a"}, leases: held("b", "b", "b", "a"), reclaimable: true, reclaim: []int{0, 1, 2}, give: 1,
		},
		"those of another process of its name are not":      {leases: held("b", "", ""), take: []int{1, 2}},
		"of what is free the first by name takes the first": {others: []string{"a", "c"}, leases: held("", "", "", "", ""), take: []int{2, 3}},
		"the last by name takes the rest":                   {others: []string{"a"}, leases: held("", "", ""), take: []int{2}},
		"who has one more keeps it":                         {others: []string{"a"}, leases: held("b", "b", "a"), mine: []activity{applying, applying, idle}},
		"who has two more gives one":                        {others: []string{"a"}, leases: held("b", "b", "b", "a"), mine: []activity{applying, applying, applying, idle}, give: 1},
		"and no second before the first is taken": {
			others: []string{"a"}, leases: held("b", "b", "b", ""), mine: []activity{applying, applying, applying, idle},
		},
		"nor while it is handed over": {
			others: []string{"a"}, leases: held("b", "b", "b", "b"), mine: []activity{giving, applying, applying, applying},
		},
		"nor while something is acquired, which may come to nothing": {
			others: []string{"a"}, leases: held("b", "b", "", "a"), mine: []activity{applying, applying, acquiring, idle},
		},
		"two that have too much give to the one that lacks": {
			others: []string{"a", "c"}, leases: held("b", "b", "b", "c", "c", "c"),
			mine: []activity{applying, applying, applying, idle, idle, idle}, give: 1,
		},
		"a lease of one that is not there any more is waited for": {others: []string{"a"}, leases: held("x", "x", "a", "b"), mine: []activity{idle, idle, idle, applying}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := View{Self: "b", Replicas: map[string]time.Duration{"b": run}, Leases: row.leases}
			for _, other := range row.others {
				v.Replicas[other] = run
			}
			mine := append(row.mine, make([]activity, len(row.leases)-len(row.mine))...)
			got := planFor(v, mine, slices.Repeat([]bool{row.reclaimable}, len(row.leases)))
			require.Equal(t, row.reclaim, got.reclaim)
			require.Equal(t, row.take, got.take)
			require.Equal(t, row.give, got.give)
		})
	}
}

// fleet is replicas that act on what they last saw, which may be old.
type fleet struct {
	owner []string // by partition; empty when free
	there []string
	seen  map[string]View
	moves int
}

func (f *fleet) look(name string) {
	v := View{Self: name, Replicas: map[string]time.Duration{}}
	for _, other := range f.there {
		v.Replicas[other] = time.Second
	}
	for _, owner := range f.owner {
		v.Leases = append(v.Leases, Lease{Owner: owner, Left: time.Second})
	}
	f.seen[name] = v
}

// act is what name does by what it saw. It knows what it has itself.
func (f *fleet) act(name string) {
	mine := make([]activity, len(f.owner))
	for no, owner := range f.owner {
		if owner == name {
			mine[no] = applying
		}
	}
	p := planFor(f.seen[name], mine, make([]bool, len(f.owner)))
	for _, no := range p.take {
		if f.owner[no] == "" { // else another was faster
			f.owner[no] = name
			f.moves++
		}
	}
	for no := range f.owner {
		if f.owner[no] == name && p.give > 0 {
			f.owner[no], p.give = "", p.give-1
		}
	}
}

func (f *fleet) has() map[string]int {
	has := map[string]int{}
	for _, name := range f.there {
		has[name] = 0
	}
	for _, owner := range f.owner {
		has[owner]++
	}
	return has
}

// There is no oscillation: whoever has what at first, and however old what the replicas act on is, once they have seen the present they
// come to the shares in about as many moves as that takes, and then rest.
func TestReplicasComeToTheirSharesAndRest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := &fleet{owner: make([]string, rapid.IntRange(1, 40).Draw(t, "partitions")), seen: map[string]View{}}
		for i := range rapid.IntRange(1, 8).Draw(t, "replicas") {
			f.there = append(f.there, fmt.Sprintf("r%d", i))
		}
		for no := range f.owner {
			f.owner[no] = rapid.SampledFrom(append(slices.Clone(f.there), "")).Draw(t, "owner")
		}
		for _, name := range f.there {
			f.look(name)
		}
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			name := rapid.SampledFrom(f.there).Draw(t, "who")
			if rapid.Bool().Draw(t, "looks") {
				f.look(name)
			}
			f.act(name)
		}
		need := 0
		for name, n := range shares(len(f.owner), f.has()) {
			need += max(0, n-f.has()[name])
		}
		if f.has()[""] > 0 {
			need += f.has()[""]
		}
		f.moves = 0
		for rounds := 0; ; rounds++ {
			require.Less(t, rounds, 10*len(f.owner), "it comes to rest")
			before := slices.Clone(f.owner)
			for _, name := range rapid.Permutation(f.there).Draw(t, "order") {
				f.look(name)
				f.act(name)
			}
			if slices.Equal(before, f.owner) {
				break
			}
		}
		has := f.has()
		require.Zero(t, has[""], "all are owned")
		delete(has, "")
		counts := slices.Collect(maps.Values(has))
		require.LessOrEqual(t, slices.Max(counts)-slices.Min(counts), 1)
		require.LessOrEqual(t, f.moves, 2*need)
	})
}
