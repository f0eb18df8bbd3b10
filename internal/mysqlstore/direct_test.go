package mysqlstore

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/batcher"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
)

// direct is a Direct on dsn, whose schema it makes.
func direct(t testing.TB, dsn string, with ...func(*DirectConfig)) *Direct {
	t.Helper()
	c := DirectConfig{DSN: dsn, Migrate: true}
	for _, f := range with {
		f(&c)
	}
	d, err := OpenDirect(t.Context(), c, zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// of is an event of a run.
func of(run string, ops ...wire.Op) *wire.Event {
	ev := &wire.Event{RunID: run, Kind: wire.KindRun, Ops: ops}
	ev.ContentHash = wire.HashContent(run, ops)
	return ev
}

func TestDirectAppliesAnEventAndReadsItBack(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	d, look := direct(t, dsn), plain(t, dsn)
	v2 := v2Op(3, "key", `{"v": 2}`)
	v2.V2.Label = "label"
	started := time.Now().Add(-time.Minute)
	require.NoError(t, d.Apply(t.Context(), of("run", stepOp(1, `{"n": 1}`), stepOp(2, `{"n": 2}`), v2,
		checkpointOp("named", 2, `{"c": 1}`),
		outboxOp("event", `{"e": 1}`))))

	latest, err := d.Latest(t.Context(), "run")
	require.NoError(t, err)
	require.EqualValues(t, 2, latest.Step)
	require.JSONEq(t, `{"n": 2}`, string(latest.State))
	require.WithinRange(t, latest.SavedAt, started, time.Now().Add(time.Minute))
	named, err := d.Checkpoint(t.Context(), "named")
	require.NoError(t, err)
	require.JSONEq(t, `{"c": 1}`, string(named.State))
	require.WithinRange(t, named.SavedAt, started, time.Now().Add(time.Minute))
	cp, err := d.CheckpointV2(t.Context(), wire.V2Request{RunID: "run", Label: "label"})
	require.NoError(t, err)
	require.JSONEq(t, `{"v": 2}`, string(cp.State))
	require.WithinRange(t, cp.Timestamp, started, time.Now().Add(time.Minute))
	events, err := d.Claim(t.Context(), wire.EventsRequest{Limit: 10, LeaseMS: 1000, Holder: "me"})
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.WithinRange(t, events[0].SavedAt, started, time.Now().Add(time.Minute))
	keys, err := d.Keys(t.Context(), []string{"key"})
	require.NoError(t, err)
	require.Len(t, keys, 1)
	runs, err := d.Runs(t.Context(), wire.RunsRequest{})
	require.NoError(t, err)
	require.Len(t, runs.Runs, 1)
	require.WithinRange(t, runs.Runs[0].UpdatedAt, started, time.Now().Add(time.Minute))

	for _, missing := range []func() (bool, error){
		func() (bool, error) { r, err := d.Latest(t.Context(), "Run"); return r == nil, err },
		func() (bool, error) { r, err := d.Checkpoint(t.Context(), "Named"); return r == nil, err },
	} {
		none, err := missing()
		require.NoError(t, err)
		require.True(t, none)
	}
	require.Zero(t, readRow(t, look, "run", 1).seq)
	exec(t, look, "UPDATE workflow_steps SET log_seq=77, log_gen=3")
	require.NoError(t, d.Apply(t.Context(), of("run", stepOp(1, `{"n": 3}`))))
	row := readRow(t, look, "run", 1)
	require.JSONEq(t, `{"n": 3}`, row.state, "who comes later overwrites")
	require.Equal(t, []uint64{77, 3}, []uint64{row.seq, row.gen}, "and leaves the place in the log, as LangGraph-Go does")
}

func TestThePoolIsAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	require.Equal(t, DirectConfig{
		DSN: "d", MaxOpen: 25, MaxIdle: 5, MaxLifetime: 5 * time.Minute, MaxIdleTime: 10 * time.Minute, ConnectTimeout: 5 * time.Second,
	}, DirectConfig{DSN: "d"}.WithDefaults())
	busy := func(d *Direct, n int) (open int) { // n connections at once
		var g errgroup.Group
		gate := make(chan struct{})
		for range n {
			g.Go(func() error {
				conn, err := d.db.Conn(t.Context())
				if err != nil {
					return err
				}
				<-gate
				return conn.Close()
			})
		}
		require.Eventually(t, func() bool { return d.Stats().InUse == n || d.Stats().WaitCount > 0 }, time.Minute, time.Millisecond)
		open = d.Stats().OpenConnections
		close(gate)
		require.NoError(t, g.Wait())
		return open
	}
	d := direct(t, dsn)
	require.Equal(t, 25, d.Stats().MaxOpenConnections)
	require.Equal(t, 8, busy(d, 8))
	require.Equal(t, 5, d.Stats().Idle)
	d = direct(t, dsn, func(c *DirectConfig) { c.MaxOpen, c.MaxIdle, c.MaxLifetime, c.MaxIdleTime = -1, -1, -1, -1 })
	require.Zero(t, d.Stats().MaxOpenConnections, "no limit")
	require.Equal(t, 8, busy(d, 8))
	require.Zero(t, d.Stats().Idle)
	d = direct(t, dsn, func(c *DirectConfig) { c.MaxOpen, c.MaxLifetime = 3, time.Nanosecond })
	require.LessOrEqual(t, busy(d, 8), 3)
	require.NotZero(t, d.Stats().MaxLifetimeClosed)
	d = direct(t, dsn, func(c *DirectConfig) { c.MaxIdleTime = time.Nanosecond })
	require.Eventually(t, func() bool { return d.Ping(t.Context()) == nil && d.Stats().MaxIdleTimeClosed > 0 }, time.Minute, 10*time.Millisecond)
}

func TestDirectMakesOrChecksTheSchema(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	c := DirectConfig{DSN: dsn}
	_, err := OpenDirect(t.Context(), c, zap.NewNop())
	require.ErrorIs(t, err, ErrSchemaPending)
	requireClass(t, batcher.Operator, err)
	require.ErrorContains(t, err, "run persistd migrate")
	direct(t, dsn)
	direct(t, dsn, func(c *DirectConfig) { c.Migrate = false })

	for _, dsn := range []string{"root:hunter2@tcp(host", "root:hunter2@tcp(127.0.0.1:1)/db", "root:hunter2(host)/db", "root:hunter2@tcp(127.0.0.1:1)/"} {
		_, err := OpenDirect(t.Context(), DirectConfig{DSN: dsn}, zap.NewNop())
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestDirectGoesOnAfterItsServerWasRestarted(t *testing.T) {
	t.Parallel()
	server, dsn := stacktest.OwnDatabase(t)
	d := direct(t, dsn, func(c *DirectConfig) { c.MaxIdle = 20 })
	var g errgroup.Group
	for i := range int32(20) { // so that many connections idle
		g.Go(func() error { return d.Apply(t.Context(), of("run", stepOp(i, `1`))) })
	}
	require.NoError(t, g.Wait())
	server.Kill()
	err := d.Apply(t.Context(), of("run", stepOp(20, `1`)))
	requireClass(t, batcher.Again, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, server.Restart(ctx))
	require.NoError(t, d.Apply(t.Context(), of("run", stepOp(20, `1`))))
	page, err := d.Steps(t.Context(), wire.StepsRequest{RunID: "run"})
	require.NoError(t, err)
	require.Len(t, page.Steps, 21)
}

func TestTheRightsOfTheDocumentationAreEnoughForDirect(t *testing.T) {
	t.Parallel()
	dsn := stacktest.Database(t)
	direct(t, dsn)
	grants := slices.DeleteFunc(documentedGrants(t, "persistd"), func(g string) bool {
		return strings.HasSuffix(g, "persistd_streams") || strings.HasSuffix(g, "persistd_partitions")
	})
	d := direct(t, user(t, dsn, grants...), func(c *DirectConfig) { c.Migrate = false })
	require.NoError(t, d.Apply(t.Context(), of("run", stepOp(1, `1`), v2Op(1, "key", `1`), checkpointOp("named", 1, `1`), outboxOp("event", `1`))))
	events, err := d.Claim(t.Context(), wire.EventsRequest{Limit: 1, LeaseMS: 1000, Holder: "me"})
	require.NoError(t, err)
	require.Len(t, events, 1)
	_, err = d.MarkEmitted(t.Context(), []string{"event"})
	require.NoError(t, err)
	_, err = d.BeginAttempt(t.Context(), "run")
	require.NoError(t, err)
	reply, err := d.Watch(t.Context(), wire.WatchRequest{RunID: "run"})
	require.NoError(t, err)
	require.Len(t, reply.Steps, 1)
	require.NoError(t, d.Apply(t.Context(), of("run", deleteOp)))
}
