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
)

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
