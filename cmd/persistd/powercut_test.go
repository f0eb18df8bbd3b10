package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/powerloss"
	"github.com/persistd/persistd/internal/stream"
	"github.com/persistd/persistd/pkg/client"
)

// cutsVariable is how many power cuts each test makes, instead of few.
const cutsVariable = "PERSISTD_POWER_CUTS"

func powerCuts(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv(cutsVariable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, cutsVariable)
	return n
}

// plug is a nats-server whose data is on a disk that can lose its power.
type plug struct {
	*devstack.NATSProcess

	t    *testing.T
	disk *powerloss.Disk
	data string
}

func plugIn(t *testing.T, names powerloss.Names, always bool) *plug {
	t.Helper()
	dir := t.TempDir()
	p := &plug{t: t, disk: powerloss.NewDisk(names), data: filepath.Join(dir, "data")}
	require.NoError(t, os.Mkdir(p.data, 0o700))
	require.NoError(t, p.disk.Mount(p.data))
	t.Cleanup(func() { require.NoError(t, p.disk.Unmount()) })
	var err error
	p.NATSProcess, err = devstack.StartNATSProcess(t.Context(), devstack.NATSOptions{Dir: dir, SyncAlways: always})
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p
}

// pull pulls the plug: the server is gone, and so is what was not synced, but for what kept says. Then there is power again.
func (p *plug) pull(kept powerloss.Lost) {
	p.t.Helper()
	p.Kill()
	require.NoError(p.t, p.disk.Unmount())
	require.NoError(p.t, p.disk.Cut(kept))
	require.NoError(p.t, p.disk.Mount(p.data))
	require.NoError(p.t, p.Restart(p.t.Context()))
}

// I1, I5: with sync_interval: always nothing acknowledged is lost in a power cut, and of a transaction in parts all is there or nothing. Workers,
// daemon and database go on through all of them.
func TestI1APowerCutOfNATSLosesNothingThatWasAcknowledgedWithSyncAlways(t *testing.T) {
	t.Parallel()
	p := plugIn(t, powerloss.Journal, true)
	s := newStack(t, p.URL(), stacktest.Database(t))
	s.spawn("none", "PERSISTD_STREAM_PARTITIONS=2")
	s.eventually("daemon is up", func() bool { return s.owned("test") == 2 })
	patient := []client.Option{client.WithAttemptTimeout(time.Second), client.WithTimeout(time.Minute)}
	// The steps of several workers share atomic batches of the log, and so its fsyncs.
	grouping := append([]client.Option{client.WithGroupPublish(client.GroupAlways)}, patient...)
	steps, batches := s.fleet(8, 300, time.Millisecond, grouping...), s.batches(2, patient...)
	draw := rand.New(rand.NewPCG(4, 1))
	cuts := powerCuts(t, 4)
	for i := range cuts {
		steps.advances(50 + draw.Int64N(200))
		if draw.IntN(2) == 0 {
			batches.advances(1)
		}
		kept := powerloss.Nothing
		if i%2 == 1 {
			kept = powerloss.Some(draw)
		}
		p.pull(kept)
	}
	steps.advances(50)
	batches.advances(1)
	for _, f := range []*fleet{steps, batches} {
		f.stop()
		f.wg.Wait()
		require.Empty(t, f.failed, "saves that were not acknowledged")
	}
	total := len(steps.acked) + len(batches.acked)*batchSteps
	s.eventually("all of it is committed", func() bool { return s.rows("TRUE") >= total })
	got := s.table()
	require.Len(t, got, total, "what was not acknowledged is not half there")
	for k, state := range steps.acked {
		require.True(t, sameJSON(got[k].State, state), "step %v", k)
	}
	for k, state := range batches.acked {
		for i := range int32(batchSteps) {
			require.True(t, sameJSON(got[rowKey{batchRun(k.Run), k.Step*batchSteps + i}].State, state), "step %d of batch %v", i, k)
		}
	}
	t.Logf("%d power cuts; %d steps and %d transactions in parts acknowledged, none lost; the disk saw %+v", cuts, len(steps.acked), len(batches.acked), p.disk.Counts())
}

const batchSteps = 5

func batchRun(run string) string { return "batch-" + run }

// batches sends out workers that save several steps at once, too large for one message: the log has them in parts.
func (s *stack) batches(workers int, opts ...client.Option) *fleet {
	s.t.Helper()
	st := s.open(opts...)
	return s.fleetOf(0, workers, 400_000, 20*time.Millisecond, func(ctx context.Context, run string, step int32, state json.RawMessage) error {
		var all []client.Step[json.RawMessage]
		for i := range batchSteps {
			all = append(all, client.Step[json.RawMessage]{Step: int(step)*batchSteps + i, NodeID: "node", State: state})
		}
		return st.SaveStepBatch(ctx, batchRun(run), all)
	})
}

// What R1 without sync_interval: always does not promise, shown: and that the simulated disk loses what is not synced.
func TestAPowerCutOfNATSLosesAcknowledgedEventsWithoutSyncAlways(t *testing.T) {
	t.Parallel()
	p := plugIn(t, powerloss.Journal, false)
	log, js, st := p.log()
	const acknowledged = 500
	for i := range acknowledged {
		require.NoError(t, st.SaveStep(t.Context(), fmt.Sprintf("run-%d", i%10), i, "node", json.RawMessage(`{"v": 1}`)))
	}
	before, err := log.Info(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, acknowledged, before.Events)

	p.Kill()
	require.NoError(t, p.Restart(t.Context()))
	require.EqualValues(t, acknowledged, events(t, js), "a kill alone loses nothing")

	p.pull(powerloss.Nothing)
	left := events(t, js)
	require.Less(t, left, uint64(acknowledged), "the power cut lost acknowledged events")
	t.Logf("%d of %d acknowledged events are there after the power cut; %+v", left, acknowledged, p.disk.Counts())
}

// What is asked of the file system below sync_interval: always, shown: nats-server syncs files, and of the folders that it makes none, so it
// relies on a journal that keeps their names with the files (ext4, XFS and others have one). If this fails, it does not any more: tell docs/durability.md.
func TestANATSServerLosesTheLogOnAFileSystemThatForgetsTheNamesOfSyncedFiles(t *testing.T) {
	t.Parallel()
	p := plugIn(t, powerloss.Directory, true)
	_, js, st := p.log()
	for i := range 20 {
		require.NoError(t, st.SaveStep(t.Context(), "run", i, "node", json.RawMessage(`{"v": 1}`)))
	}
	forgotten := p.disk.Forgotten()
	require.Contains(t, forgotten, "jetstream/$G/streams/PERSISTD/msgs/1.blk")
	p.pull(powerloss.Nothing)
	require.Zero(t, events(t, js))
	t.Logf("synced, and lost with their names: %v", forgotten)
}

// log makes the log, without a daemon, and opens a client.
func (p *plug) log() (*stream.Stream, jetstream.JetStream, client.Store[json.RawMessage]) {
	t := p.t
	t.Helper()
	nc, err := nats.Connect(p.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	log, err := stream.Ensure(t.Context(), js, stream.Config{Partitions: 2, MaxBytes: 1 << 30}, zap.NewNop())
	require.NoError(t, err)
	st, err := client.Open[json.RawMessage](t.Context(), p.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = st.Close() })
	return log, js, st
}

// events is how many the log has; none when there is no log.
func events(t *testing.T, js jetstream.JetStream) (n uint64) {
	t.Helper()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		s, err := js.Stream(ctx, "PERSISTD")
		if err == nil {
			n = s.CachedInfo().State.Msgs
		}
		return err == nil || err == jetstream.ErrStreamNotFound //nolint:errorlint // exactly this one.
	}, time.Minute, 20*time.Millisecond)
	return n
}
