package chaos

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// clientLinks is on how many links the workers and readers are.
const clientLinks = 4

// I1 to I6, over a network that fails: each daemon reaches the nats-server and the database, and the workers the nats-server, through proxies
// that delay, slow down, cut up, cut off, reset, hold up and swallow what goes through them, both ways or one way.
func testNetwork(t *testing.T, s settings, binary string) {
	t.Helper()
	c := newCluster(t)
	n := newNetwork(t)
	targets := n.daemons(c, binary)
	nats := natsAddr(c.nats.URL())
	urls := make([]string, clientLinks)
	for i := range urls {
		name := fmt.Sprintf("clients-%d to nats", i+1)
		urls[i] = "nats://" + n.link(name, nats)
		targets = append(targets, Target{name, 2})
	}
	sc := newScenario(c, s, urls...)
	sc.play(func(ctx context.Context) { sc.disturbAround(ctx, n, targets) })
	v := sc.verify()
	history := sc.linearizable()
	sc.stop()
	sc.report(v, history)
	c.noneLeft()
}

func natsAddr(url string) string { return url[len("nats://"):] }

// daemons starts the replicas behind links of their own, and returns what can befall them: each link, and both of a replica at once.
func (n *network) daemons(c *cluster, binary string) (targets []Target) {
	n.t.Helper()
	cfg, err := mysql.ParseDSN(c.database.DSN("persistd"))
	require.NoError(n.t, err)
	database := cfg.Addr
	for i := range replicas {
		name := fmt.Sprintf("persistd-%d", i+1)
		toNATS := n.link(name+" to nats", natsAddr(c.nats.URL()))
		cfg.Addr = n.link(name+" to database", database)
		c.addDaemon(binary, "nats://"+toNATS, cfg.FormatDSN())
		targets = append(targets, Target{name + " to nats", 2}, Target{name + " to database", 2}, Target{name, 1})
	}
	return targets
}

// of are the links that a target names.
func (n *network) of(target string) []*link {
	if l, ok := n.links[target]; ok {
		return []*link{l}
	}
	return []*link{n.links[target+" to nats"], n.links[target+" to database"]}
}

// disturbAround brings faults upon links until it is time.
func (sc *scenario) disturbAround(ctx context.Context, n *network, targets []Target) {
	plan := NewPlan(sc.settings.seed, OfConnections, targets, Pace{
		Between: 700 * time.Millisecond, Shortest: 100 * time.Millisecond, Longest: 3 * lease / 2,
	})
	var (
		busy    = map[*link]bool{}
		mu      sync.Mutex // guards busy
		running sync.WaitGroup
	)
	take := func(links []*link) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range links {
			if busy[l] {
				return false
			}
		}
		for _, l := range links {
			busy[l] = true
		}
		return true
	}
	release := func(l *link) {
		mu.Lock()
		defer mu.Unlock()
		busy[l] = false
	}
	defer running.Wait()
	for end := time.Now().Add(sc.settings.length); time.Now().Before(end) && ctx.Err() == nil && sc.broken() == nil; {
		f := plan.Next()
		pause(ctx, f.After)
		links := n.of(f.Target)
		if !take(links) {
			sc.skip()
			continue
		}
		surfaced := sc.note(f)
		for _, l := range links {
			running.Go(func() {
				defer release(l)
				seen, err := l.befall(context.WithoutCancel(ctx), f)
				if err != nil {
					sc.fleet.fail(err)
				}
				surfaced(seen)
			})
		}
	}
}
