package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
	"github.com/persistd/persistd/internal/wire"
	"github.com/persistd/persistd/pkg/client"
)

func TestDevKeepsItsDataAndStopsWhatItStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var logs []time.Time // when they were made
	for round := range 2 {
		d := startDev(t, dir)
		st, err := client.Open[json.RawMessage](t.Context(), d.nats)
		require.NoError(t, err)
		if round == 0 {
			require.NoError(t, st.SaveStep(client.ContextWithDurability(t.Context(), client.Committed), "run-001", 7, "start", json.RawMessage(`{"n":1}`)))
			require.NoError(t, st.SaveStep(t.Context(), "run-002", 8, "start", json.RawMessage(`{"n":2}`)))
		}
		for run, want := range map[string]int{"run-001": 7, "run-002": 8} {
			_, step, err := st.LoadLatest(t.Context(), run)
			require.NoError(t, err)
			require.Equal(t, want, step)
		}
		require.NoError(t, st.Close())
		out, err := persistd(t.Context(), nil, "status", "--nats-url="+d.nats, "--output=json")
		require.NoError(t, err)
		var replicas []wire.Status
		require.NoError(t, json.Unmarshal([]byte(out), &replicas))
		require.EqualValues(t, 2, replicas[0].LastSeq)
		logs = append(logs, replicas[0].Created)
		require.Equal(t, logs[0], replicas[0].Created, "it is the same log")
		require.NotEmpty(t, processes(t, dir), "the database")
		d.cancel()
		require.NoError(t, <-d.done, d.out)
		require.Empty(t, processes(t, dir))
		_, err = nats.Connect(d.nats)
		require.ErrorIs(t, err, nats.ErrNoServers)
	}
}

func TestDevEndsWhenItsDatabaseDies(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := startDev(t, dir)
	defer d.cancel()
	for pid := range processes(t, dir) {
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	require.ErrorIs(t, <-d.done, errDatabaseEnded)
}

type dev struct {
	nats   string
	cancel context.CancelFunc
	done   chan error
	out    *tail
}

// startDev runs `persistd dev` until cancel is called.
func startDev(t *testing.T, dir string) *dev {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := &dev{cancel: cancel, done: make(chan error, 1), out: &tail{}}
	go func() {
		d.done <- run(ctx, []string{
			"dev", "--dir=" + dir, "--nats-port=0", "--http-listen=127.0.0.1:0", "--stream-max-bytes=64MiB", "--engine=" + string(stacktest.Engine(t)),
		}, lookup(nil), d.out, d.out)
	}()
	t.Cleanup(cancel)
	require.Eventually(t, func() bool {
		if len(d.done) > 0 {
			return true
		}
		m := regexp.MustCompile(`NATS +(nats://\S+)`).FindStringSubmatch(d.out.String())
		if m != nil {
			d.nats = m[1]
		}
		return m != nil && strings.Contains(d.out.String(), "persistd status --nats-url "+m[1])
	}, 3*time.Minute, 10*time.Millisecond)
	require.Empty(t, d.done, d.out)
	return d
}

// processes are those whose command line names dir.
func processes(t *testing.T, dir string) (found map[int]string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	found = map[int]string{}
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), dir) { // one may end meanwhile
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			require.NoError(t, err)
			found[pid] = strings.ReplaceAll(string(b), "\x00", " ")
		}
	}
	return found
}
