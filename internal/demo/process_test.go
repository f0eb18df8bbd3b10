package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a daemon that is a shell script. It has begun when its first word is in the log.
func script(t *testing.T, text string) *daemon {
	t.Helper()
	dir := t.TempDir()
	d, err := newDaemon(dir, "nats://n", "dsn")
	require.NoError(t, err)
	d.binary = filepath.Join(dir, "daemon")
	require.NoError(t, os.WriteFile(d.binary, []byte("#!/bin/sh\n"+text), 0o700))
	t.Cleanup(d.kill)
	return d
}

func (d *daemon) says(t *testing.T, what string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(d.tail(), what) }, 20*time.Second, time.Millisecond, what)
}

func TestDaemonThatEndsByItselfIsNoticed(t *testing.T) {
	t.Parallel()
	d := script(t, "echo $1 and no more; exit 3")
	require.NoError(t, d.alive(t.Context()), "not started is not gone")
	require.NoError(t, d.start())
	var err error
	require.Eventually(t, func() bool { err = d.alive(t.Context()); return err != nil }, 20*time.Second, time.Millisecond)
	require.ErrorIs(t, err, errWent)
	require.ErrorContains(t, err, "exit status 3\nserve and no more")
	require.NoError(t, d.alive(t.Context()), "told once")
	d.kill() // there is none
	require.NoError(t, d.stop(time.Second))
}

func TestDaemonIsStoppedAndKilled(t *testing.T) {
	t.Parallel()
	t.Run("it stops when it is told to", func(t *testing.T) {
		t.Parallel()
		d := script(t, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done")
		require.NoError(t, d.start())
		d.says(t, "up")
		require.NoError(t, d.stop(20*time.Second))
		require.Equal(t, "up\nbye\n", d.tail())
		require.NoError(t, d.start(), "and starts again, with the same log")
		d.says(t, "bye\nup")
		d.kill()
		require.Equal(t, "up\nbye\nup\n", d.tail())
	})
	t.Run("it ends badly", func(t *testing.T) {
		t.Parallel()
		d := script(t, "trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done")
		require.NoError(t, d.start())
		d.says(t, "up")
		require.EqualError(t, d.stop(20*time.Second), "stop daemon: exit status 5")
	})
	t.Run("it does not listen", func(t *testing.T) {
		t.Parallel()
		d := script(t, "trap '' TERM; echo up; while :; do sleep 0.01; done")
		require.NoError(t, d.start())
		d.says(t, "up")
		require.EqualError(t, d.stop(50*time.Millisecond), "stop daemon: it did not stop within 50ms")
		require.Nil(t, d.process, "it is gone")
	})
}

func TestLogsTailIsShort(t *testing.T) {
	t.Parallel()
	d := script(t, "head -c 100000 /dev/zero; echo end")
	require.NoError(t, d.start())
	d.says(t, "end\n")
	require.Len(t, d.tail(), 4096)
}

func TestDaemonSeesOnlyItsOwnSettings(t *testing.T) { //nolint:paralleltest // it sets the environment.
	t.Setenv("PERSISTD_STREAM_NAME", "somebody-elses")
	t.Setenv("PERSISTD_MYSQL_DSN_FILE", "/run/secrets/production")
	t.Setenv("DEMO_TEST_KEPT", "kept")
	d := script(t, "env; echo end")
	require.NoError(t, d.start())
	d.says(t, "end\n")
	require.NotContains(t, d.tail(), "somebody-elses")
	require.NotContains(t, d.tail(), "production")
	for _, kv := range []string{"PERSISTD_NATS_URL=nats://n", "PERSISTD_MYSQL_DSN=dsn", "PERSISTD_INSTANCE=demo", "DEMO_TEST_KEPT=kept"} {
		require.Contains(t, d.tail(), kv)
	}
}
