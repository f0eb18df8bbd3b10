package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/pkg/client"
)

// restartWait bounds the restart of a server.
const restartWait = time.Minute

// shipped is the program as it is shipped: the race detector, which this test may run under, multiplies memory and time.
func shipped(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "persistd")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// The NATS server is killed under load and started again on its data, twice.
func TestI1NATSKilledUnderLoad(t *testing.T) {
	t.Parallel()
	nats := stacktest.NATSProcess(t)
	s := newStack(t, nats.URL(), stacktest.Database(t))
	d := s.spawn("none").serving()
	f := s.fleet(16, 2_000, time.Millisecond, client.WithTimeout(2*time.Minute), client.WithAttemptTimeout(time.Second))
	for range 2 {
		f.advances(300)
		nats.Kill()
		ctx, cancel := context.WithTimeout(t.Context(), restartWait)
		require.NoError(t, nats.Restart(ctx))
		cancel()
	}
	f.advances(300)
	f.home()
	s.matchesLog()
	require.NoError(t, d.terminate())
}

// The database is killed with rows written and not committed, and again with a commit whose answer is on its way.
func TestI1MySQLKilledMidBatch(t *testing.T) {
	t.Parallel()
	db, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATS(t).URL(), dsn)
	s.audited()
	proxy := s.behindProxy()
	d := s.spawn("none", "PERSISTD_RETRY_MAX=200ms").serving()
	f := s.fleet(16, 2_000, time.Millisecond)
	for _, kind := range []trap{swallowCommit, swallowAnswer} {
		f.advances(200)
		sprung := proxy.arm(kind, 1)
		<-sprung
		db.Kill()
		f.advances(200) // what is acknowledged does not wait for the database
		ctx, cancel := context.WithTimeout(t.Context(), restartWait)
		require.NoError(t, db.Restart(ctx))
		cancel()
	}
	f.advances(200)
	f.home()
	s.writtenOnce(s.matchesLog())
	require.Empty(t, s.deadLetters(), "an outage is not poison")
	require.NoError(t, d.terminate())
}

// The database is away for 30 s under load: the log grows, the daemon does not.
func TestI1MySQLAwayUnderLoadWithBoundedMemory(t *testing.T) {
	t.Parallel()
	const (
		outage     = 30 * time.Second
		partitions = 2
		queue      = 2 << 20  // per partition, as configured below
		readAhead  = 2 << 20  // per partition, ingest's default
		batches    = 2 << 20  // per partition: a batch of 1 MiB and its statement
		program    = 56 << 20 // 28 idle; the rest is connections, decoding, and a collector that is late on a busy machine
		// The collector lets the heap double.
		bound = program + 2*partitions*(queue+readAhead+batches)
		grows = 240 << 20
	)
	db, dsn := stacktest.OwnDatabase(t)
	s := newStack(t, stacktest.NATS(t).URL(), dsn)
	d := s.start([]string{shipped(t), "serve"}, "PERSISTD_STREAM_PARTITIONS="+strconv.Itoa(partitions),
		"PERSISTD_BATCH_QUEUE_BYTES="+strconv.Itoa(queue), "PERSISTD_BATCH_BYTES=1MiB").serving()
	f := s.bulkFleet(16, 16_000, 25*time.Millisecond) // at most 640 steps of 16 kB a second
	f.advances(100)

	from := f.bytes.Load()
	db.Kill()
	since := time.Now()
	s.eventuallyIn(10*time.Minute, "the log grows past the outage", func() bool { return time.Since(since) >= outage && f.bytes.Load()-from > grows })
	grown := f.bytes.Load() - from
	ctx, cancel := context.WithTimeout(t.Context(), restartWait)
	defer cancel()
	require.NoError(t, db.Restart(ctx))
	f.advances(100)
	f.home()
	require.Empty(t, s.deadLetters(), "an outage is not poison")

	kib, err := strconv.ParseInt(strings.TrimSuffix(d.procState("VmHWM"), " kB"), 10, 64)
	require.NoError(t, err)
	t.Logf("the log grew by %d MiB while the database was away; the daemon had %d MiB at most, of %d", grown>>20, kib>>10, bound>>20)
	require.Greater(t, grown, int64(2*bound), "the log grew by much more than the bound")
	require.Less(t, kib<<10, int64(bound), "peak of the daemon's memory")
	require.NoError(t, d.terminate())
}

// The log is full: publishers are told, nothing that was acknowledged goes, and when the daemon is back it goes on.
func TestI1FullLogRefusesAndLosesNothing(t *testing.T) {
	t.Parallel()
	s := sharedStack(t)
	settings := []string{"PERSISTD_STREAM_MAX_BYTES=64MiB", "PERSISTD_STREAM_REPLAY_WINDOW=0s", "PERSISTD_STREAM_TRIM_INTERVAL=100ms"}
	program := []string{shipped(t), "serve"}
	d := s.start(program, settings...).serving()
	d.kill()

	acked := map[int32]json.RawMessage{}
	step := int32(0)
	for ; ; step++ {
		state := randomState(900_000)
		if err := s.publishStep(t.Context(), "run", step, state); err != nil {
			require.ErrorContains(t, err, "maximum bytes exceeded")
			break
		}
		acked[step] = state
	}
	st := s.open(client.WithCompression(0), client.WithTimeout(2*time.Minute))
	state := randomState(900_000)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // in which the log answers, however busy the machine is
	defer cancel()
	require.ErrorIs(t, st.SaveStep(ctx, "run", int(step), "node", state), client.ErrLogFull)
	require.Greater(t, len(acked), 50)
	require.Equal(t, len(acked), s.events(), "what was refused is not in the log, and what was acknowledged is")

	d = s.start(program, settings...)
	require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), "run", int(step), "node", state), "the log takes steps again")
	acked[step] = state
	got := s.table()
	require.Len(t, got, len(acked))
	for step, want := range acked {
		require.True(t, sameJSON(string(want), got[rowKey{"run", step}].State), "acknowledged step %d", step)
	}
	s.eventually("what is committed leaves the log", func() bool { return s.events() == 0 })
	require.NoError(t, d.terminate())
}
