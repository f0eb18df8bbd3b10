package partition_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
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

func TestReplicasThatStartTogetherShareEvenly(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ partitions, replicas int }{{1, 1}, {1, 3}, {8, 3}, {8, 8}, {8, 10}, {64, 5}, {24, 10}} {
		t.Run(fmt.Sprintf("%d partitions, %d replicas", row.partitions, row.replicas), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := spread(t, row.partitions, row.replicas, brisk)
				t.Logf("balanced after %s", c.balances(3*time.Second))
				c.rests(30 * time.Second)
				for name, s := range c.sets {
					sh := s.Sharing()
					require.Equal(t, name, sh.Self)
					require.Len(t, sh.Replicas, row.replicas)
					sum := 0
					for other, p := range sh.Replicas {
						require.Equal(t, p.Share, p.Has, "share of %s as %s sees it", other, name)
						sum += p.Share
					}
					require.Equal(t, row.partitions, sum)
				}
				c.home(300 * ms)
			})
		})
	}
}

func TestReplicaThatJoinsGetsItsShareWithinSeconds(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		silent bool
		within time.Duration
	}{"at once": {false, 1500 * ms}, "when it is looked next, where hints are lost": {true, 40 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := spread(t, 24, 3, brisk)
				c.balances(3 * time.Second)
				c.rests(30 * time.Second)
				c.silent = row.silent
				before := c.epochs()
				c.join("r3")
				t.Logf("balanced after %s", c.balances(row.within))
				moved := 0
				for p, e := range c.epochs() {
					moved += int(e - before[p])
				}
				require.Equal(t, 6, moved, "its share, and nothing else")
				c.rests(30 * time.Second)
				c.home(5 * time.Second)
			})
		})
	}
}

func TestReplicaThatStopsLeavesItsPartitionsAtOnce(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		silent bool
		within time.Duration
	}{"at once": {false, 300 * ms}, "when it is looked next, where hints are lost": {true, 2100 * ms}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := spread(t, 24, 5, brisk)
				c.balances(3 * time.Second)
				c.rests(30 * time.Second)
				c.silent = row.silent
				before := c.epochs()
				c.leave("r2")
				t.Logf("balanced after %s", c.balances(row.within))
				for p, e := range c.epochs() {
					require.LessOrEqual(t, e, before[p]+1)
				}
				c.rests(30 * time.Second)
				c.home(2100 * ms)
			})
		})
	}
}

// A drain that takes long keeps only its own partition.
func TestReplicaThatStopsSlowlyGivesWhatIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 8, 2, brisk)
		c.balances(3 * time.Second)
		c.rests(time.Second)
		slow := c.row(0).owner
		c.reps[slow].fail("commit", errHang)
		c.publish(0, 1)
		<-time.After(2 * far) // it is read, and its commit under way
		stopping := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stopping <- c.sets[slow].Stop(ctx)
		}()
		<-time.After(time.Second)
		kept := 0
		for p := range 8 {
			if c.row(p).owner == slow {
				kept++
			}
		}
		require.Equal(t, 1, kept, "all but the one whose commit hangs are with the other")
		require.NoError(t, <-stopping, "the next attempt commits")
		delete(c.sets, slow)
		c.balances(2 * lease)
		c.home(time.Second)
	})
}

// One that is older than its clients, say, holds back its partitions; one that joins may be able to apply them.
func TestReplicaThatCannotCommitHandsOverAllTheSame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 8, 1, brisk)
		c.balances(3 * time.Second)
		refused := make([]error, 10_000)
		for i := range refused {
			refused[i] = &batcher.Error{Class: batcher.Operator, Err: errors.New("not by this one")}
		}
		c.reps["r0"].fail("commit", refused...)
		<-time.After(time.Second)
		c.join("r1")
		began := time.Now()
		for c.owns()["r1"] < 4 {
			require.LessOrEqual(t, time.Since(began), 6*lease, "%v", c.owns())
			<-time.After(5 * ms)
		}
		c.kill("r0")
		c.balances(2 * lease)
		c.home(time.Second)
	})
}

func TestI3PartitionsOfAReplicaThatIsKilledAreTakenWithinTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 24, 5, brisk)
		c.balances(3 * time.Second)
		c.rests(30 * time.Second)
		c.kill("r2")
		t.Logf("balanced after %s", c.balances(lease+100*ms))
		c.rests(30 * time.Second)
		c.home(100 * ms)
	})
}

func TestI2ReplicasThatComeAndGoLoseAndDoubleNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 16, 3, brisk)
		next := 3
		for round := range 40 {
			names := slices.Sorted(maps.Keys(c.sets))
			switch {
			case len(names) < 2 || round%4 == 0 || round%4 == 1:
				c.join(fmt.Sprintf("r%d", next))
				next++
			case round%4 == 2:
				c.leave(names[round%len(names)])
			default:
				c.kill(names[round%len(names)])
			}
			<-time.After(time.Duration(round*round) * 11 * ms)
		}
		c.balances(lease + 3*time.Second)
		c.rests(30 * time.Second)
		c.home(lease)
	})
}

// The database comes and goes, for each replica by itself, for longer and for shorter than a lease.
func TestI2DatabaseThatFlapsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 8, 3, brisk)
		for round := range 60 {
			r := c.reps[fmt.Sprintf("r%d", round%3)]
			r.reach(errCut)
			<-time.After(time.Duration(round%7) * 2500 * ms)
			r.reach(nil)
			<-time.After(time.Duration(round%5) * 700 * ms)
		}
		c.balances(lease + 3*time.Second)
		c.rests(30 * time.Second)
		c.home(2 * lease)
	})
}

// Who cannot read a partition leaves it to another, also one that has its share; and what is given back is given ever more rarely.
func TestPartitionThatItsOwnerCannotReadIsTakenByAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 2, 2, time.Second)
		c.balances(3 * time.Second)
		broken := c.reps["r0"]
		for range 1000 {
			broken.fail("read", errCut)
			broken.fail("read on", errCut)
		}
		began := time.Now()
		<-time.After(lease)
		require.Equal(t, map[string]int{"r0": 0, "r1": 2}, c.owns())
		require.Less(t, c.row(0).longest+c.row(1).longest, lease/2+2*time.Second)
		tries := len(broken.called("acquire"))
		<-time.After(30 * time.Minute)
		require.Less(t, len(broken.called("acquire"))-tries, 20)
		broken.fmu.Lock()
		broken.faults = map[string][]error{}
		broken.fmu.Unlock()
		t.Logf("balanced %s after it can read again, %s after it could not", c.balances(64*lease+lease), time.Since(began))
		c.home(lease)
	})
}

// That a partition is to be read again is nobody's inability: it stays where it is.
func TestPartitionThatIsToBeReadAgainStaysWithItsOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := spread(t, 2, 2, time.Second)
		c.balances(3 * time.Second)
		owners := c.owns()
		again := fmt.Errorf("position went back: %w", partition.ErrAgain)
		c.reps["r0"].fail("read on", again)
		c.reps["r0"].fail("read", again, again, again)
		reads := len(c.reps["r0"].called("read"))
		<-time.After(lease / 2)
		require.Equal(t, owners, c.owns())
		require.Equal(t, 4, len(c.reps["r0"].called("read"))-reads)
		c.home(lease)
	})
}

// What an idle replica asks the database does not depend on how many partitions and replicas there are; but for the trims.
func TestIdleReplicaAsksLittle(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ partitions, replicas int }{{8, 1}, {64, 4}} {
		synctest.Test(t, func(t *testing.T) {
			c := spread(t, row.partitions, row.replicas, 24*time.Hour)
			c.balances(3 * time.Second)
			asked := func() (look, renew, acquire int) {
				r := c.reps["r0"]
				return len(r.called("look")), len(r.called("renew")), len(r.called("acquire"))
			}
			look, renew, acquire := asked()
			c.rests(time.Minute)
			look2, renew2, acquire2 := asked()
			require.InDelta(t, 30, look2-look, 1, "looks a minute")
			require.InDelta(t, 18, renew2-renew, 1, "renewals a minute")
			require.Zero(t, acquire2-acquire)
			c.home(time.Second)
		})
	}
}
