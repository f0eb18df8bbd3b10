package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// I1 to I6, with real processes: three daemons, the nats-server and the database are killed and stopped at random while twenty workers save
// what agents save. At the end every acknowledged write is in the database as it was, and nothing else is there in part.
func testKillLoop(t *testing.T, s settings, binary string) {
	t.Helper()
	c := newCluster(t)
	for range replicas {
		c.addDaemon(binary, c.nats.URL(), c.database.DSN("persistd"))
	}
	sc := newScenario(c, s, c.nats.URL())
	sc.play(sc.killAround)
	v := sc.verify()
	history := sc.linearizable()
	sc.stop()
	sc.report(v, history)
	killed, _ := sc.count(Kill)
	require.Positive(t, killed)
	require.GreaterOrEqual(t, killed, s.kills)
	c.noneLeft()
}

// killAround kills and stops processes until it is time.
func (sc *scenario) killAround(ctx context.Context) {
	victims := sc.victims()
	targets := []Target{{"nats-server", 3}, {"database", 2}}
	for _, d := range sc.daemons {
		targets = append(targets, Target{d.name, 3})
	}
	plan := NewPlan(sc.settings.seed, []Kind{Kill, Kill, Kill, Stop, Stop}, targets, Pace{
		Between: 700 * time.Millisecond, Shortest: 50 * time.Millisecond, Longest: lease,
	})
	var (
		busy    sync.Map // names of the victims that something befalls just now
		running sync.WaitGroup
	)
	defer running.Wait()
	end := time.Now().Add(sc.settings.length)
	for {
		f := plan.Next()
		pause(ctx, f.After)
		killed, _ := sc.count(Kill)
		enough := killed >= sc.settings.kills || time.Now().After(end.Add(sc.settings.length))
		if time.Now().After(end) && enough || ctx.Err() != nil || sc.broken() != nil {
			return
		}
		if _, taken := busy.LoadOrStore(f.Target, true); taken {
			sc.skip()
			continue
		}
		if f.Kind == Stop && strings.HasPrefix(f.Target, "persistd") {
			f.For += lease // so that others take over, and it does not know
		}
		running.Go(func() {
			defer busy.Delete(f.Target)
			sc.befall(victims[f.Target], f)
		})
	}
}

// befall brings f upon v, and undoes it.
func (sc *scenario) befall(v victim, f Fault) {
	surfaced := sc.note(f)
	pid := v.pid()
	if err := syscall.Kill(pid, 0); err != nil { // one that ended by itself must not pass for one that was killed
		sc.fleet.fail(fmt.Errorf("%s ended by itself, before %s: %w", v.name, f, err))
		return
	}
	if f.Kind == Stop {
		if err := v.signal(syscall.SIGSTOP); err != nil {
			sc.fleet.fail(err)
			return
		}
		surfaced(stateOf(pid) == 'T')
		<-time.After(f.For)
		if err := v.signal(syscall.SIGCONT); err != nil {
			sc.fleet.fail(err)
		}
		return
	}
	v.kill()
	surfaced(stateOf(pid) == 0)
	<-time.After(f.For / 2)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := v.start(ctx); err != nil {
		sc.fleet.fail(err)
	}
}

// stateOf is the state of a process as the kernel has it, 0 when there is none: R, S, T for stopped, and so on.
func stateOf(pid int) byte {
	deadline := time.Now().Add(10 * time.Second)
	for {
		b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return 0
		}
		_, rest, _ := strings.Cut(string(b), ") ") // no program of ours has one in its name
		if rest[0] == 'T' || time.Now().After(deadline) {
			return rest[0]
		}
	}
}
