package simulation

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// How many schedules are run, and the seed of the first: the others follow. Both can be set by environment variables. The race detector
// makes them seven times as slow; `make test` runs some with it, and all without.
const (
	defaultSchedules = 10_000
	racedSchedules   = 1_500
	defaultSeed      = 1
)

func setting(t *testing.T, name string, def uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return def
	}
	n, err := strconv.ParseUint(s, 10, 64)
	require.NoError(t, err, name)
	return n
}

// again is the command that runs one schedule once more.
func again(seed uint64) string { return fmt.Sprintf("make simulate SCHEDULES=1 SEED=%d", seed) }

// total is what many schedules did.
type total struct {
	mu sync.Mutex // guards all
	counts
	surfaced [faults]int
	injected [injections]int
	deeds    [deeds]int
}

func (a *total) add(w *world) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.schedules++
	a.terms += w.counts.terms
	a.commits += w.counts.commits
	a.together += w.counts.together
	a.events += w.counts.events
	a.rows += w.counts.rows
	a.acked += w.counts.acked
	a.crashes += w.counts.crashes
	a.letters += w.counts.letters
	a.compared += w.counts.compared
	a.judged += w.counts.judged
	a.told += w.counts.told
	a.other += w.counts.other
	a.remade += w.counts.remade
	for i, n := range w.surfaced {
		a.surfaced[i] += n
	}
	for i, n := range w.injected {
		a.injected[i] += n
	}
	for i, n := range w.deeds {
		a.deeds[i] += n
	}
}

func (a *total) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d schedules: %d writes acknowledged, %d commits, some in %d transactions of several, of %d events and %d rows, %d dead letters,"+
		" %d terms, %d deaths\n",
		a.schedules, a.acked, a.commits, a.together, a.events, a.rows, a.letters, a.terms, a.crashes)
	fmt.Fprintf(&s, "held against the log: %d times the database, %d answers to readers, %d answers about a commit\n", a.compared, a.judged, a.told)
	s.WriteString("calls:")
	list(&s, a.surfaced[:], faultNames[:])
	s.WriteString("\nlog:")
	list(&s, a.injected[:], injectionNames[:])
	s.WriteString("\ndeeds:")
	list(&s, a.deeds[:], deedNames[:])
	fmt.Fprintf(&s, " %d streams made again, which ended %d processes", a.remade, a.other)
	return s.String()
}

func list(s *strings.Builder, n []int, names []string) {
	for i := range n {
		fmt.Fprintf(s, " %d %s,", n[i], names[i])
	}
}

// every is that each kind of fault happened, and that there was something to be wrong.
func (a *total) every(t *testing.T) {
	t.Helper()
	for i, n := range a.surfaced {
		require.Positive(t, n, faultNames[i])
	}
	for i, n := range a.injected {
		require.Positive(t, n, injectionNames[i])
	}
	for i, n := range a.deeds {
		require.Positive(t, n, deedNames[i])
	}
	require.Positive(t, a.remade)
	for what, n := range map[string]int{
		"writes acknowledged": a.acked, "commits": a.commits, "transactions of several": a.together, "dead letters": a.letters, "databases held against the log": a.compared,
		"answers to readers": a.judged, "answers about a commit": a.told, "deaths": a.crashes, "processes that ended with their log": a.other,
	} {
		require.Positive(t, n, what)
	}
}

// Every invariant holds after every schedule. A failure prints the seed, and the command that runs it again.
func TestI1ToI7HoldUnderRandomSchedules(t *testing.T) {
	t.Parallel()
	def := uint64(defaultSchedules)
	if raced {
		def = racedSchedules
	}
	schedules, first := setting(t, "PERSISTD_SIMULATION_SCHEDULES", def), setting(t, "PERSISTD_SIMULATION_SEED", defaultSeed)
	var (
		sum  total
		next atomic.Uint64
		bad  atomic.Int64
	)
	t.Run("schedules", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1) - 1; n < schedules && bad.Load() < 5; n = next.Add(1) - 1 {
					w := simulate(t, first+n, intact)
					sum.add(w)
					if len(w.wrong) > 0 {
						bad.Add(1)
						t.Errorf("seed %d, to be run again by: %s\n%s", first+n, again(first+n), strings.Join(w.wrong, "\n"))
					}
				}
			})
		}
	})
	t.Log(sum.String())
	if schedules >= 1000 {
		sum.every(t)
	}
}
