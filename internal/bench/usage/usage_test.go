package usage_test

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/bench/usage"
)

// Not in parallel with anything: it looks at this process as a whole.
func TestWhatAProcessUsedIsItsOwnWorkSinceTheBeginning(t *testing.T) {
	this := usage.Process{Name: "this", PID: os.Getpid()}
	m, err := usage.Begin(this)
	require.NoError(t, err)
	garbage := make([]byte, 96<<20)
	touch(garbage)
	garbage = nil //nolint:ineffassign,wastedassign // it is what goes away.
	debug.FreeOSMemory()
	used, err := m.Since()
	require.NoError(t, err)
	full := used["this"].PeakMemory // with all that the race detector adds, some of which stays
	other := exec.CommandContext(t.Context(), "sleep", "60")
	require.NoError(t, other.Start())
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })

	m, err = usage.Begin(this, usage.Process{Name: "other", PID: other.Process.Pid})
	require.NoError(t, err)
	used, err = m.Since()
	require.NoError(t, err)
	require.Less(t, used["this"].PeakMemory, full-48<<20, "what was before is forgotten")
	require.Less(t, used["this"].CPU, 50*time.Millisecond, "a tick or two, at most")

	held := make([]byte, 64<<20)
	for began := time.Now(); ; {
		touch(held)
		if used, err = m.Since(); used["this"].CPU >= 50*time.Millisecond || time.Since(began) > time.Minute {
			break
		}
	}
	require.NoError(t, err)
	require.GreaterOrEqual(t, used["this"].CPU, 50*time.Millisecond)
	require.GreaterOrEqual(t, used["this"].PeakMemory, int64(64<<20))
	require.Less(t, used["other"].CPU, 50*time.Millisecond, "it sleeps")
	require.Less(t, used["other"].PeakMemory, int64(16<<20))
}

// Where every core is busy with somebody else, who runs has waited.
func TestThreadsThatHaveNoCoreWait(t *testing.T) {
	for range runtime.NumCPU() {
		other := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
		require.NoError(t, other.Start())
		t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	}
	m, err := usage.Begin(usage.Process{Name: "this", PID: os.Getpid()})
	require.NoError(t, err)
	if told, err := os.ReadFile("/proc/self/schedstat"); err != nil || strings.HasPrefix(string(told), "0 0 ") {
		used, err := m.Since()
		require.NoError(t, err)
		require.Nil(t, used["this"].Waited, "this kernel does not tell")
		return
	}
	busy := make([]byte, 1<<20)
	require.Eventually(t, func() bool {
		for range 100 {
			touch(busy)
		}
		used, err := m.Since()
		return err == nil && used["this"].Waited != nil && *used["this"].Waited > 0
	}, time.Minute, time.Millisecond)
}

func TestThePeakOfAChildIsItsOwn(t *testing.T) {
	held := make([]byte, 64<<20)
	touch(held)
	child := exec.CommandContext(t.Context(), "sh", "-c", "x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo; read y")
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	_, err = out.Read(make([]byte, 1)) // it holds what it is to hold
	require.NoError(t, err)
	done := make(chan struct{})
	close(done) // it looks once at least
	found := usage.PeakUntil(done, child.Process.Pid)
	require.NoError(t, in.Close())
	_ = child.Wait()
	require.Less(t, found, int64(48<<20), "what this process holds is not its")
	require.Greater(t, found, int64(8<<20))
	touch(held)
}

func TestAProcessThatIsNotThereIsNamed(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "true")
	require.NoError(t, cmd.Run())
	_, err := usage.Begin(usage.Process{Name: "daemon", PID: cmd.Process.Pid})
	require.ErrorContains(t, err, "measure daemon: reset peak memory: open /proc/")

	sleeper := exec.CommandContext(t.Context(), "sleep", "60")
	require.NoError(t, sleeper.Start())
	m, err := usage.Begin(usage.Process{Name: "daemon", PID: sleeper.Process.Pid})
	require.NoError(t, err)
	require.NoError(t, sleeper.Process.Kill())
	_ = sleeper.Wait()
	_, err = m.Since()
	require.ErrorContains(t, err, "measure daemon: read CPU time of process")
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i]++
	}
}
