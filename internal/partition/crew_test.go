package partition_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/partition"
)

// far is how long each call takes in the tests of spreading: reading, too, begins that much later.
const far = 5 * ms

// brisk is the pace of publishing where much moves.
const brisk = 43 * ms

// crew is the replicas of a test, which publishes all the time.
type crew struct {
	*world
	t    *testing.T
	sets map[string]*partition.Set
	reps map[string]*replica
	stop func() // ends publishing
}

// spread is a crew of n replicas that hear each other's hints. An event is published per pace.
func spread(t *testing.T, partitions, n int, pace time.Duration) *crew {
	t.Helper()
	c := &crew{world: newWorld(partitions), t: t, sets: map[string]*partition.Set{}, reps: map[string]*replica{}}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for p := 0; ; p = (p + 1) % partitions {
			select {
			case <-time.After(pace):
				c.publish(p, 1)
			case <-stop:
				return
			}
		}
	}()
	c.stop = func() { close(stop); <-stopped }
	for i := range n {
		c.join(fmt.Sprintf("r%d", i))
	}
	return c
}

func (c *crew) join(name string) {
	c.t.Helper()
	r := c.replica(name)
	r.away, r.took = far, far
	s := r.set(c.t, partition.Config{})
	c.hears(s)
	c.reps[name], c.sets[name] = r, s
	require.NoError(c.t, s.Start(c.t.Context()))
}

// leave stops a replica as SIGTERM does.
func (c *crew) leave(name string) {
	c.t.Helper()
	require.NoError(c.t, c.sets[name].Stop(context.Background()))
	delete(c.sets, name)
}

// kill ends a replica as SIGKILL does.
func (c *crew) kill(name string) {
	c.reps[name].crash()
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.sets[name].Stop(ended)
	delete(c.sets, name)
}

// owns is how many partitions each replica that lives applies.
func (c *crew) owns() map[string]int {
	has := map[string]int{}
	for name, s := range c.sets {
		has[name] = 0
		for _, st := range s.Status() {
			if st.State == partition.Applying {
				has[name]++
			}
		}
	}
	return has
}

// balanced is whether all partitions are applied, by all replicas to within one.
func (c *crew) balanced() bool {
	least, most, sum := len(c.rows), 0, 0
	for _, n := range c.owns() {
		least, most, sum = min(least, n), max(most, n), sum+n
	}
	return sum == len(c.rows) && most-least <= 1
}

// balances waits until that is so, and returns how long it took.
func (c *crew) balances(within time.Duration) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !c.balanced() {
		require.LessOrEqual(c.t, time.Since(began), within, "%v", c.owns())
		<-time.After(5 * ms)
	}
	return time.Since(began)
}

func (c *crew) epochs() (all []uint64) {
	for p := range c.rows {
		all = append(all, c.row(p).epoch)
	}
	return all
}

// rests lets time go by, in which nothing may move.
func (c *crew) rests(d time.Duration) {
	c.t.Helper()
	before := c.epochs()
	<-time.After(d)
	require.Equal(c.t, before, c.epochs(), "nothing moves")
	require.True(c.t, c.balanced())
}

// home stops everything, and checks that each event was applied once and in order, and that no partition was free for longer than
// gap between an owner that released it and the next.
func (c *crew) home(gap time.Duration) {
	c.t.Helper()
	c.stop()
	<-time.After(time.Second)
	for p := range c.rows {
		var want []uint64
		for _, ev := range c.log(p) {
			want = append(want, ev.Message.Sequence)
		}
		row := c.row(p)
		require.Equal(c.t, want, row.applied)
		require.LessOrEqual(c.t, row.longest, gap, "partition %d was free", p)
	}
	for _, name := range slices.Sorted(maps.Keys(c.sets)) {
		c.leave(name)
	}
}
