package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// shared waits until the partitions belong to the instances, evenly.
func (s *stack) shared(instances ...string) map[int]place {
	s.t.Helper()
	var at map[int]place
	s.eventually(fmt.Sprintf("the partitions are shared by %v", instances), func() bool {
		at = s.partitions()
		has := map[string]int{}
		for _, p := range at {
			has[p.Owner]++
		}
		least, most := len(at), 0
		for _, name := range instances {
			least, most = min(least, has[name]), max(most, has[name])
		}
		return len(at) > 0 && len(has) == len(instances) && most-least <= 1
	})
	return at
}

// probes save step after step, each in a partition of its own, and wait until each is committed.
type probes struct {
	stop func()

	mu   sync.Mutex
	last []time.Time     // when a step of the partition was last committed
	gaps []time.Duration // the longest time between two, since reset
}

func (s *stack) probes(partitions int) *probes {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &probes{last: make([]time.Time, partitions), gaps: make([]time.Duration, partitions)}
	st := s.open(client.WithDurability(client.Committed), client.WithTimeout(2*time.Minute))
	runs := make([]string, partitions)
	for i := 0; slices.Contains(runs, ""); i++ {
		run := fmt.Sprintf("probe-%d", i)
		runs[wire.Partition(wire.DefaultNamespace, run, partitions)] = run
	}
	var wg sync.WaitGroup
	for no, run := range runs {
		wg.Go(func() {
			for step := 0; ctx.Err() == nil; step++ {
				if err := st.SaveStep(context.WithoutCancel(ctx), run, step, "n", json.RawMessage(`{}`)); err != nil {
					s.t.Errorf("probe of partition %d: %v", no, err)
					return
				}
				p.committed(no)
			}
		})
	}
	p.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	s.t.Cleanup(p.stop)
	return p
}

func (p *probes) committed(no int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last[no].IsZero() {
		p.gaps[no] = max(p.gaps[no], time.Since(p.last[no]))
	}
	p.last[no] = time.Now()
}

// reset begins to measure anew.
func (p *probes) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.gaps)
}

// longest waits until each partition has committed after the call, and returns the longest time that one has not since the reset.
func (p *probes) longest(s *stack) time.Duration {
	s.t.Helper()
	now := time.Now()
	s.eventually("all partitions commit", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !slices.ContainsFunc(p.last, func(at time.Time) bool { return at.Before(now) })
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Max(p.gaps)
}

// answered is how many reads of the latest step the daemon has answered.
func (s *stack) answered(c *child) (n float64) {
	for name, v := range s.scrape(c.address()) {
		if strings.HasPrefix(name, "persistd_request_duration_seconds_count{") && strings.Contains(name, `verb="latest"`) && strings.Contains(name, `result="ok"`) {
			n += v
		}
	}
	return n
}

// Three replicas share the partitions while events flow. The leases run for so long that whatever changes hands here was handed over.
func TestReplicasShareThePartitionsAndHandThemOver(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	start := func(name string) *child {
		return s.spawn("none", "PERSISTD_INSTANCE="+name, "PERSISTD_LEASE_DURATION=10m").serving()
	}
	replicas := map[string]*child{"a": start("a")}
	s.ownedBy("a")
	f := s.fleet(8, 200, 5*time.Millisecond)
	p := s.probes(8)
	f.advances(100)

	step := func(what string, change func(), owners ...string) (at map[int]place) {
		t.Helper()
		before := s.partitions()
		p.reset()
		began := time.Now()
		change()
		at = s.shared(owners...)
		took := time.Since(began)
		moved := 0
		for no := range at {
			moved += int(at[no].Epoch - before[no].Epoch)
		}
		gap := p.longest(s)
		t.Logf("%s: %d partitions moved, shared evenly after %s; the longest that a partition did not commit was %s", what, moved,
			took.Round(time.Millisecond), gap.Round(time.Millisecond))
		require.Less(t, gap, 5*time.Minute, "a lease would have had to end")
		f.advances(200)
		now := s.partitions()
		for no := range at {
			require.Equal(t, at[no].Epoch, now[no].Epoch, "nothing moves without need")
		}
		return at
	}
	step("a second one joins", func() { replicas["b"] = start("b") }, "a", "b")
	step("a third one joins", func() { replicas["c"] = start("c") }, "a", "b", "c")

	st := s.open()
	for _, name := range []string{"a", "b", "c"} {
		before := s.answered(replicas[name])
		s.eventually(name+" answers reads", func() bool {
			_, _, err := st.LoadLatest(t.Context(), "run-0")
			require.NoError(t, err)
			return s.answered(replicas[name]) > before
		})
	}
	s.eventually("each has seen that all have their shares", func() bool {
		for _, r := range s.statuses(3) {
			if len(r.Replicas) != 3 || slices.ContainsFunc(r.Replicas, func(one wire.ReplicaShare) bool { return one.Share != one.Has }) {
				return false
			}
		}
		return true
	})

	step("one is told to stop", func() { require.NoError(t, replicas["b"].cmd.Process.Signal(syscall.SIGTERM)) }, "a", "c")
	require.NoError(t, replicas["b"].wait())
	step("it is started again", func() { replicas["b"] = start("b") }, "a", "b", "c")
	step("two are told to stop", func() {
		for _, name := range []string{"a", "c"} {
			require.NoError(t, replicas[name].cmd.Process.Signal(syscall.SIGTERM))
		}
	}, "b")
	p.stop()
	f.stop()
	f.wg.Wait()
	require.Empty(t, f.failed, "steps that were not acknowledged")
	s.matchesLog() // nothing is lost, nothing doubled
	for _, name := range []string{"a", "c"} {
		require.NoError(t, replicas[name].wait())
	}
	require.NoError(t, replicas["b"].terminate())
	require.Zero(t, s.count("persistd_replicas", "TRUE"), "who stops takes its row with it")
}

// statuses waits until n replicas answer.
func (s *stack) statuses(n int) (all []wire.Status) {
	s.t.Helper()
	s.eventually("replicas answer", func() bool {
		var err error
		all, err = askStatus(s.t.Context(), s.nc, wire.Subjects{Prefix: "persistd"}, 2*time.Second)
		return err == nil && len(all) == n
	})
	return all
}

// Who dies is missed within the lease, and who comes back takes part again.
func TestReplicaThatIsKilledIsReplacedWithinTheLease(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{"PERSISTD_LEASE_DURATION=3s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=2s"}
	replicas := map[string]*child{}
	for _, name := range []string{"a", "b", "c"} {
		replicas[name] = s.spawn("none", append(settings, "PERSISTD_INSTANCE="+name)...).serving()
	}
	s.shared("a", "b", "c")
	f := s.fleet(8, 200, 5*time.Millisecond)
	f.advances(100)
	replicas["b"].kill()
	began := time.Now()
	s.shared("a", "c")
	t.Logf("one of three is killed: the others have its partitions after %s, with a lease of 3 s", time.Since(began).Round(time.Millisecond))
	s.spawn("none", append(settings, "PERSISTD_INSTANCE=b")...).serving()
	s.shared("a", "b", "c")
	f.advances(100)
	f.home()
}
