package langgraphgo_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/adapters/langgraphgo"
	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// programs are those that the tests on real servers run, built of what is here.
type programs struct{ persistd, fleet string }

func build(t *testing.T) programs {
	t.Helper()
	root, err := devstack.RepoRoot()
	require.NoError(t, err)
	p := programs{filepath.Join(t.TempDir(), "persistd"), filepath.Join(t.TempDir(), "fleet")}
	for out, from := range map[string]struct{ dir, pkg string }{
		p.persistd: {root, "./cmd/persistd"}, p.fleet: {".", "./examples/fleet"},
	} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, from.pkg)
		cmd.Dir, cmd.Env = from.dir, append(os.Environ(), "CGO_ENABLED=0")
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", cmd, said)
	}
	return p
}

// stack is a nats-server, a database and a daemon of a test's own.
type stack struct {
	t        *testing.T
	url, dsn string
	binary   string
	daemon   *child
}

func newStack(t *testing.T, p programs) *stack {
	t.Helper()
	s := &stack{t: t, url: stacktest.NATS(t).URL(), dsn: stacktest.Database(t), binary: p.persistd}
	s.serve()
	return s
}

// serve starts the daemon and returns when it answers.
func (s *stack) serve() {
	s.t.Helper()
	s.daemon = start(s.t, []string{s.binary, "serve"}, "PERSISTD_NATS_URL="+s.url, "PERSISTD_MYSQL_DSN="+s.dsn,
		"PERSISTD_HTTP_LISTEN=127.0.0.1:0", "PERSISTD_INSTANCE=test", "PERSISTD_STREAM_MAX_BYTES=1GiB")
	st := s.open()
	require.Eventually(s.t, func() bool { return st.Ping(within(s.t, 5*time.Second)) == nil }, eventually, 20*time.Millisecond, "the daemon does not answer")
	require.NoError(s.t, st.Close())
}

func (s *stack) open() *langgraphgo.Store[state] {
	s.t.Helper()
	st, err := langgraphgo.Open[state](s.t.Context(), s.url)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = st.Close() })
	return st
}

// work starts a worker process.
func (s *stack) work(do task) *child {
	s.t.Helper()
	self, err := os.Executable()
	require.NoError(s.t, err)
	do.URL = s.url
	text, err := json.Marshal(do)
	require.NoError(s.t, err)
	return start(s.t, []string{self}, taskVariable+"="+string(text))
}

// child is a process and what it says.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // of its stdout; closed when it has ended
	err   error       // how it ended; to be read after lines is closed
	log   bytes.Buffer
	acked int // the last step that it said was acknowledged, of the lines that were read
}

func start(t *testing.T, argv []string, env ...string) *child {
	t.Helper()
	c := &child{t: t, cmd: exec.Command(argv[0], argv[1:]...), lines: make(chan string, 1<<16)}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = &c.log
	out, err := c.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.cmd.Start())
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case c.lines <- lines.Text():
			default: // a daemon's, which nobody reads
			}
		}
		c.err = c.cmd.Wait()
		close(c.lines)
	}()
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", argv[0], c.log.String())
		}
	})
	return c
}

// says reads what the child says up to a line that begins with one of what, and returns that; or "" when it ended without.
func (c *child) says(what ...string) string {
	c.t.Helper()
	limit := time.After(eventually)
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return ""
			}
			_, _ = fmt.Sscanf(line, "acked %d", &c.acked)
			for _, w := range what {
				if strings.HasPrefix(line, w) {
					return line
				}
			}
		case <-limit:
			require.FailNow(c.t, "the process does not say it", "%s", what)
		}
	}
}

// ends reads what is left, and returns how the process ended.
func (c *child) ends() error {
	c.t.Helper()
	c.says()
	return c.err
}

// kill sends SIGKILL, waits for the end, and reads what is left.
func (c *child) kill() {
	c.t.Helper()
	_ = c.cmd.Process.Kill()
	_ = c.ends()
}

func (c *child) signal(sig syscall.Signal) {
	c.t.Helper()
	require.NoError(c.t, c.cmd.Process.Signal(sig))
}

// rows are the states of the run's steps in MySQL, by their number, once there are as many as wanted.
func (s *stack) rows(run string, want int) []state {
	s.t.Helper()
	var states []state
	require.Eventually(s.t, func() bool {
		states = s.query(run)
		return len(states) >= want
	}, eventually, 20*time.Millisecond, "the steps are not committed")
	return states
}
