package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

// I1, I6: of three nats-servers that keep the log any one may die, the one that leads it too.
func TestI1AnyOneOfThreeNATSServersMayDie(t *testing.T) {
	t.Parallel()
	c := stacktest.NATSCluster(t)
	s := newStack(t, c.URL(), stacktest.Database(t))
	s.clusterDaemons("PERSISTD_STREAM_REPLICAS=3")
	w := s.watchers(6)
	for i := range 4 {
		node := c.Node(i % c.Nodes())
		if i%2 == 0 {
			node = s.leader(c) // by the fourth time the others have had their turn, too
		}
		w.advance(40)
		node.Kill()
		w.advance(40)
		require.NoError(t, node.Restart(t.Context()))
		s.current(c)
	}
	w.home()
}

// I6: a leader that is paused for longer than the others wait is none any more, and does not know it when it goes on.
func TestI6ALeaderOfTheLogThatWasPausedAnswersNothingStale(t *testing.T) {
	t.Parallel()
	c := stacktest.NATSCluster(t)
	s := newStack(t, c.URL(), stacktest.Database(t))
	s.clusterDaemons("PERSISTD_STREAM_REPLICAS=3")
	w := s.watchers(6)
	for range 2 {
		w.advance(40)
		node := s.leader(c)
		require.NoError(t, syscall.Kill(node.Pid(), syscall.SIGSTOP))
		s.eventually("another leads", func() bool { name := s.leaderName(); return name != "" && name != node.Name() })
		w.advance(100)
		require.NoError(t, syscall.Kill(node.Pid(), syscall.SIGCONT))
		w.advance(40)
		s.current(c)
	}
	w.home()
}

// I6: a leader that hears of no other cannot know whether they have elected another one, and answers nothing.
func TestI6ALeaderOfTheLogThatIsAloneAnswersNoReads(t *testing.T) {
	t.Parallel()
	c := stacktest.NATSCluster(t)
	s := newStack(t, c.URL(), stacktest.Database(t))
	s.clusterDaemons("PERSISTD_STREAM_REPLICAS=3")
	require.NoError(t, s.open().SaveStep(t.Context(), "run", 1, "node", json.RawMessage(`1`)))
	leader := s.leader(c)
	var others []*devstack.NATSProcess
	for i := range c.Nodes() {
		if n := c.Node(i); n != leader {
			others = append(others, n)
			t.Cleanup(func() { _ = syscall.Kill(n.Pid(), syscall.SIGCONT) })
		}
	}
	// A daemon beside the leader, so that nothing but the leader's own knowledge is between a read and its answer.
	s.url = leader.URL()
	s.spawn("none", "PERSISTD_INSTANCE=beside", "PERSISTD_STREAM_REPLICAS=3")
	alone, err := nats.Connect(leader.URL(), nats.IgnoreDiscoveredServers())
	require.NoError(t, err)
	t.Cleanup(alone.Close)
	read := func() (answered bool) {
		m, err := alone.Request("persistd.read.default.latest", []byte(`{"run_id":"run"}`), 500*time.Millisecond)
		return err == nil && m.Header.Get(wire.HeaderErrorCode) == ""
	}
	s.eventually("reads are answered beside the leader", read)
	for _, n := range others {
		require.NoError(t, syscall.Kill(n.Pid(), syscall.SIGSTOP))
	}
	paused := time.Now()
	refused := time.Duration(0)
	for since := time.Duration(0); since < 9*time.Second; since = time.Since(paused) {
		if answered := read(); !answered && refused == 0 {
			refused = since
		} else if answered {
			require.Less(t, since, 4*time.Second, "the others may have elected a leader by now")
		}
	}
	require.Positive(t, refused)
	for _, n := range others {
		require.NoError(t, syscall.Kill(n.Pid(), syscall.SIGCONT))
	}
	s.eventually("reads are answered again", read)
	t.Logf("no read was answered from %s after the others fell silent", refused)
}

// I1, I2, I6: of three nodes of a Galera cluster any one may die, the one that persistd works on too.
func TestI1AnyOneOfThreeGaleraNodesMayDie(t *testing.T) {
	t.Parallel()
	g, dsn := stacktest.Galera(t)
	s := newStack(t, stacktest.NATS(t).URL(), g.Node(0).DSN("persistd"))
	s.daemonDSN = dsn
	s.clusterDaemons()
	w := s.watchers(6)
	for i := range g.Nodes() {
		w.advance(40)
		g.Node(i).Kill()
		w.advance(40)
		w.committed(g.Node((i + 1) % g.Nodes()))
		require.NoError(t, g.Node(i).Restart(t.Context()))
	}
	w.home()
}

// clusterDaemons starts two daemons, of which each may take over from the other soon.
func (s *stack) clusterDaemons(more ...string) {
	s.t.Helper()
	more = append(more, "PERSISTD_STREAM_PARTITIONS=4", "PERSISTD_LEASE_DURATION=3s", "PERSISTD_MYSQL_CONNECT_TIMEOUT=1s", "PERSISTD_MYSQL_COMMIT_TIMEOUT=5s",
		"PERSISTD_RETRY_MAX=500ms")
	s.spawn("none", append(more, "PERSISTD_INSTANCE=first")...)
	s.eventually("first daemon is up", func() bool { return s.owned("first") == 4 })
	s.spawn("none", append(more, "PERSISTD_INSTANCE=second")...)
}

// leaderName is the server that leads the log; empty while there is none.
func (s *stack) leaderName() string {
	info := s.clusterInfo()
	if info == nil {
		return ""
	}
	return info.Leader
}

func (s *stack) clusterInfo() *jetstream.ClusterInfo {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Second)
	defer cancel()
	st, err := s.js.Stream(ctx, "PERSISTD")
	if err != nil {
		return nil
	}
	return st.CachedInfo().Cluster
}

func (s *stack) leader(c *devstack.NATSCluster) (node *devstack.NATSProcess) {
	s.t.Helper()
	s.eventually("the log has a leader", func() bool { node = c.Named(s.leaderName()); return node != nil })
	return node
}

// current waits until all three have all of the log.
func (s *stack) current(c *devstack.NATSCluster) {
	s.t.Helper()
	s.eventually("all replicas are current", func() bool {
		info := s.clusterInfo()
		if info == nil || info.Leader == "" || len(info.Replicas) != c.Nodes()-1 {
			return false
		}
		for _, r := range info.Replicas {
			if !r.Current || r.Offline {
				return false
			}
		}
		return true
	})
}

// watchers are pairs of a worker and a reader on a run of their own: the reader knows what was acknowledged before it asked.
type watchers struct {
	s     *stack
	fleet *fleet
	steps []atomic.Int32 // highest step acknowledged, by run
	begun []atomic.Int32 // highest step that was begun
	stop  context.CancelFunc
	wg    sync.WaitGroup
	reads atomic.Int64

	mu     sync.Mutex // guards failed
	failed []error
}

func (s *stack) watchers(runs int) *watchers {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watchers{s: s, steps: make([]atomic.Int32, runs), begun: make([]atomic.Int32, runs), stop: cancel}
	opts := []client.Option{client.WithAttemptTimeout(time.Second), client.WithTimeout(time.Minute)}
	st := s.open(opts...)
	w.fleet = s.fleetOf(0, runs, 200, 15*time.Millisecond, func(ctx context.Context, run string, step int32, state json.RawMessage) error {
		var no int
		if _, err := fmt.Sscanf(run, "run-%d", &no); err != nil {
			return err
		}
		w.begun[no].Store(step)
		err := st.SaveStep(ctx, run, int(step), "node", state)
		if err == nil {
			w.steps[no].Store(step)
		}
		return err
	})
	for no := range runs {
		reader := s.open(opts...)
		w.wg.Go(func() { w.watch(ctx, reader, no) })
	}
	s.t.Cleanup(func() {
		cancel()
		w.wg.Wait()
	})
	return w
}

func (w *watchers) watch(ctx context.Context, st client.Store[json.RawMessage], no int) {
	for ctx.Err() == nil {
		least := w.steps[no].Load()
		_, step, err := st.LoadLatest(ctx, fmt.Sprintf("run-%d", no))
		most := w.begun[no].Load()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, client.ErrNotFound) && least == 0:
		case err != nil:
			w.fail(fmt.Errorf("read run %d: %w", no, err))
			return
		case int32(step) < least || int32(step) > most:
			w.fail(fmt.Errorf("read step %d of run %d, when %d was acknowledged and %d begun", step, no, least, most))
			return
		}
		w.reads.Add(1)
	}
}

func (w *watchers) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
}

// advance waits until every reader and worker has gone on: n more steps and reads in all.
func (w *watchers) advance(n int64) {
	w.s.t.Helper()
	steps, reads := w.fleet.count.Load(), w.reads.Load()
	w.s.eventually("workers and readers go on", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		require.NoError(w.s.t, errors.Join(w.failed...))
		return w.fleet.count.Load() >= steps+n && w.reads.Load() >= reads+n
	})
}

// committed waits until what is acknowledged now is on the node.
func (w *watchers) committed(node *devstack.Database) {
	w.s.t.Helper()
	n := w.fleet.count.Load()
	db := newStack(w.s.t, w.s.url, node.DSN("persistd"))
	w.s.eventually("commits go on", func() bool { return int64(db.rows("TRUE")) >= n })
}

// home ends all, and checks that what was acknowledged is in the database.
func (w *watchers) home() {
	w.s.t.Helper()
	w.stop()
	w.wg.Wait()
	require.NoError(w.s.t, errors.Join(w.failed...))
	w.fleet.home()
	w.s.t.Logf("%d steps acknowledged and there, %d reads, none of which missed one", w.fleet.count.Load(), w.reads.Load())
}
