package bench

import (
	"fmt"
	"slices"
)

// JudgedRounds is of how many rounds the medians are, at least, that a target may be judged by.
const JudgedRounds = 5

// Unmeasured names the targets that no figure was judged by, and a scenario once where that are all it has. A run may be of some scenarios only, or without
// real steps: what it did not measure it has neither met nor missed.
func Unmeasured(results []Result) (names []string) {
	for _, s := range Scenarios() {
		var without []string
		all := 0
		for _, t := range Targets() {
			if t.Scenario != s.Name {
				continue
			}
			all++
			if !slices.ContainsFunc(results, func(r Result) bool { return r.Met != nil && t.fits(&r) }) {
				without = append(without, fmt.Sprintf("%s, %s: %s", s.Name, t.of(), t.Bound))
			}
		}
		if all > 1 && len(without) == all {
			without = []string{fmt.Sprintf("%s: none of its %d targets", s.Name, all)}
		}
		names = append(names, without...)
	}
	return names
}

// unmeasured is [Unmeasured] of a run that judges.
func (r *Report) unmeasured() []string {
	if r.Options.Short {
		return nil
	}
	return Unmeasured(r.Results)
}
