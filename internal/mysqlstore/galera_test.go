package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// A cluster takes longer to start than its tests, so they share one.
func TestOnAGaleraCluster(t *testing.T) {
	t.Parallel()
	g, dsn := stacktest.Galera(t)
	require.NoError(t, open(t, dsn).Migrate(t.Context()))
	for i := range g.Nodes() {
		s := node(t, g, i, "")
		require.NoError(t, s.Register(t.Context(), testLog), "node %d", i)
	}
	t.Run("a read on another node sees what was committed before it", func(t *testing.T) { causalReads(t, g) })
	t.Run("of two owners on two nodes one commits", func(t *testing.T) { fencedAcrossNodes(t, g) })
	t.Run("a node that was paused does not answer from the past", func(t *testing.T) { paused(t, g, dsn) })
	t.Run("a node without a majority does not answer", func(t *testing.T) { minority(t, g) })
}

// node is a store on one node alone.
func node(t testing.TB, g *devstack.Galera, i int, name string) *Store {
	t.Helper()
	s := open(t, g.Node(i).DSN("persistd"), func(c *Config) {
		if name != "" {
			c.Owner = name
		}
	})
	if name != "" {
		require.NoError(t, s.Register(t.Context(), testLog))
	}
	return s
}

// I6: the node that is read has received what was committed on the other, and applies it when it gets to it. In the end it is held up by a
// lock, so that without a wait the read would be stale for certain.
func causalReads(t *testing.T, g *devstack.Galera) {
	here, there := node(t, g, 0, "one"), node(t, g, 1, "other")
	term := acquire(t, here, 0)
	for i := range 50 {
		run := fmt.Sprintf("run-%d", i)
		commit(t, here, &term, save(uint64(i+1), run, 1, `{"v": 1}`))
		step, _, position, err := there.Latest(t.Context(), 0, run)
		require.NoError(t, err)
		require.NotNil(t, step, "read %d", i)
		require.Equal(t, uint64(i+1), position)
		p, err := there.Position(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, uint64(i+1), p)
	}
	// A global read lock stops the node's applier.
	lock, err := there.writers.Conn(t.Context())
	require.NoError(t, err)
	_, err = lock.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK")
	require.NoError(t, err)
	commit(t, here, &term, save(1000, "held", 1, `{"v": 1}`))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, _, _, err = there.Latest(ctx, 0, "held")
	require.Error(t, err, "a node that is behind does not answer")
	_, err = lock.ExecContext(t.Context(), "UNLOCK TABLES")
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	step, _, _, err := there.Latest(t.Context(), 0, "held")
	require.NoError(t, err)
	require.NotNil(t, step)
}

// I3: the fence is a row that both change, and the cluster lets one of them.
func fencedAcrossNodes(t *testing.T, g *devstack.Galera) {
	old, heir := node(t, g, 0, "old"), node(t, g, 2, "heir")
	term := acquire(t, old, 1)
	exec(t, heir.leases, "UPDATE persistd_partitions SET lease_until=UTC_TIMESTAMP(6)-INTERVAL 1 SECOND WHERE partition_no=1")
	next := acquire(t, heir, 1)
	require.Greater(t, next.Epoch, term.Epoch)
	err := old.Commit(t.Context(), batch(term, save(5, "fenced", 1, `1`)))
	require.Equal(t, batcher.Lost, Classify(err).Class)

	// At once, from both nodes: whoever is second is told to try again, never that it is poison, and finds itself fenced.
	twin := node(t, g, 1, "heir")
	for i := range int32(20) {
		b := batch(next, save(next.Position+10, "raced", i, `1`))
		errs := make(chan error, 2)
		for _, s := range []*Store{heir, twin} {
			go func() { errs <- s.Commit(t.Context(), b) }()
		}
		for range 2 {
			if err := <-errs; err != nil {
				require.Equal(t, batcher.Again, Classify(err).Class, "%v", err)
			}
		}
		next.Position = b.Last()
		p, err := heir.Position(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, b.Last(), p)
	}
}

// paused stops a node for longer than the others wait for it, and looks at what it says when it goes on: it has not heard yet that it is
// no member any more, and what is committed by then it does not have.
func paused(t *testing.T, g *devstack.Galera, dsn string) {
	s := open(t, dsn, owner("list"), func(c *Config) { c.ConnectTimeout = 2 * time.Second })
	require.NoError(t, s.Register(t.Context(), testLog))
	require.Equal(t, g.Node(0).Addr(), s.address())
	asked := node(t, g, 0, "one")
	conns := connections(t, asked) // made before, so that what they ask next is asked at once
	term := acquire(t, s, 2)

	signal(t, g.Node(0), syscall.SIGSTOP)
	within := func(d time.Duration, do func(context.Context) error) bool {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		return do(ctx) == nil
	}
	b := batch(term, save(1, "paused", 1, `1`))
	require.Eventually(t, func() bool {
		return within(10*time.Second, func(ctx context.Context) error { return s.Commit(ctx, b) })
	}, time.Minute, 50*time.Millisecond)
	require.NotEqual(t, g.Node(0).Addr(), s.address())

	signal(t, g.Node(0), syscall.SIGCONT)
	for conn := range slices.Values(conns) {
		var n int
		err := conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM workflow_steps WHERE run_id='paused'").Scan(&n)
		require.True(t, err != nil || n == 1, "a stale answer")
		t.Logf("the node that was paused says: %d, %v", n, err)
	}
	require.Eventually(t, func() bool {
		if within(5*time.Second, func(ctx context.Context) error {
			step, _, _, err := asked.Latest(ctx, 2, "paused")
			require.True(t, err != nil || step != nil, "a stale answer")
			return err
		}) {
			return true
		}
		select {
		case <-g.Node(0).Done(): // on a busy machine it may find no other that has the time to bring it up to date, and gives up
			log, err := os.ReadFile(filepath.Join(g.Node(0).Dir(), "server.log"))
			t.Logf("the node ended: %s (%v)", log[max(0, len(log)-3000):], err)
			require.NoError(t, g.Node(0).Restart(t.Context()))
		default:
		}
		return false
	}, 5*time.Minute, 50*time.Millisecond, "it is a member again, and has what it missed")
}

// connections are three connections to the server, with nothing asked yet.
func connections(t testing.TB, s *Store) (all []*sql.Conn) {
	t.Helper()
	for range 3 {
		conn, err := s.readers.Conn(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		all = append(all, conn)
	}
	return all
}

// minority stops two nodes of three, and looks at what the third one says.
func minority(t *testing.T, g *devstack.Galera) {
	alone := node(t, g, 0, "one")
	for _, i := range []int{1, 2} {
		signal(t, g.Node(i), syscall.SIGSTOP)
		t.Cleanup(func() { signal(t, g.Node(i), syscall.SIGCONT) })
	}
	var err error
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, _, _, err = alone.Latest(ctx, 0, "run-1")
		return err != nil && (Classify(err).Number == notPrepared || errors.Is(err, errNotMember))
	}, time.Minute, 50*time.Millisecond, "the node that is alone refuses to answer")
	requireClass(t, batcher.Again, err)
}

func signal(t testing.TB, db *devstack.Database, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(db.Pid(), sig))
}
