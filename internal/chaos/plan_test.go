package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	somewhere = []Target{{"a", 3}, {"b", 1}}
	pace      = Pace{Between: time.Second, Shortest: 10 * time.Millisecond, Longest: 4 * time.Second}
)

func draw(seed uint64, n int) []Fault {
	p := NewPlan(seed, append(OfProcesses, OfConnections...), somewhere, pace)
	all := make([]Fault, n)
	for i := range all {
		all[i] = p.Next()
	}
	return all
}

func TestASeedReproducesThePlanAndAnotherDoesNot(t *testing.T) {
	t.Parallel()
	one := draw(7, 500)
	require.Equal(t, one, draw(7, 500))
	require.NotEqual(t, one, draw(8, 500))
}

func TestAPlanHasEveryKindOnEveryTargetWithinItsPace(t *testing.T) {
	t.Parallel()
	kinds, targets, after := map[Kind]int{}, map[string]int{}, time.Duration(0)
	all := draw(1, 5000)
	for i, f := range all {
		require.Equal(t, i+1, f.No)
		kinds[f.Kind]++
		targets[f.Target]++
		after += f.After
		require.GreaterOrEqual(t, f.For, pace.Shortest)
		require.LessOrEqual(t, f.For, pace.Longest)
		require.True(t, f.Up || f.Down, "%s", f)
		if f.Kind == OneWay {
			require.NotEqual(t, f.Up, f.Down, "%s", f)
		}
	}
	require.Len(t, kinds, len(OfProcesses)+len(OfConnections))
	require.InDelta(t, 3, float64(targets["a"])/float64(targets["b"]), 0.4)
	require.InDelta(t, pace.Between, after/time.Duration(len(all)), float64(pace.Between)/10)
}

func TestAPartitionHasRecoveredWhenItCommittedWhatWasBegunAfterwards(t *testing.T) {
	t.Parallel()
	p, at := NewProbes(2), time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	p.Add(0, ms(-5), ms(50)) // begun before: it may have been committed before, too
	p.Add(0, ms(60), ms(70))
	each, ok := p.Recovered(at)
	require.False(t, ok, "the other partition has not")
	require.Equal(t, []time.Duration{70 * time.Millisecond}, each)
	p.Add(1, ms(10), ms(120))
	p.Add(1, ms(130), ms(135))
	each, ok = p.Recovered(at)
	require.True(t, ok)
	require.Equal(t, []time.Duration{70 * time.Millisecond, 120 * time.Millisecond}, each)
}

func TestQuantilesAreOfWhatThereIs(t *testing.T) {
	t.Parallel()
	require.Zero(t, Quantile(nil, 0.5))
	d := []time.Duration{4, 1, 3, 2}
	require.Equal(t, time.Duration(1), Quantile(d, 0))
	require.Equal(t, time.Duration(2), Quantile(d, 0.5))
	require.Equal(t, time.Duration(4), Quantile(d, 0.99))
	require.Equal(t, []time.Duration{4, 1, 3, 2}, d)
}
