package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// child is a daemon process.
type child struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan error
	out  *tail
}

// spawn starts a daemon process with a fault, and does not wait for it to be up.
func (s *stack) spawn(fault string, more ...string) *child {
	s.t.Helper()
	self, err := os.Executable()
	require.NoError(s.t, err)
	return s.start([]string{self}, append(more, childVariable+"="+fault)...)
}

// start starts a daemon process of any program, with the stack's settings in its environment.
func (s *stack) start(argv []string, more ...string) *child {
	s.t.Helper()
	c := &child{t: s.t, cmd: exec.Command(argv[0], argv[1:]...), done: make(chan error, 1), out: &tail{}}
	c.cmd.Env = os.Environ()
	for k, v := range s.settings(more...) {
		c.cmd.Env = append(c.cmd.Env, k+"="+v)
	}
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(s.t, c.cmd.Start())
	go func() { c.done <- c.cmd.Wait() }()
	s.t.Cleanup(func() {
		c.kill()
		if s.t.Failed() {
			s.t.Logf("daemon %d said:\n%s", c.cmd.Process.Pid, c.out)
		}
	})
	return c
}

// kill sends SIGKILL and waits for the end.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.wait()
}

// wait waits for the process to end, however it does.
func (c *child) wait() error {
	select {
	case err := <-c.done:
		c.done <- err
		return err
	case <-time.After(2 * time.Minute):
		_ = c.cmd.Process.Kill()
		return errors.New("test: daemon did not end by itself")
	}
}

// terminate sends SIGTERM and returns how the process ended.
func (c *child) terminate() error {
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
	return c.wait()
}

// serving waits until the daemon is up.
func (c *child) serving() *child {
	c.t.Helper()
	c.says(`"serving"`)
	return c
}

// address is where the daemon answers HTTP.
func (c *child) address() string {
	c.t.Helper()
	_, rest, ok := strings.Cut(c.out.String(), `"http":"`)
	require.True(c.t, ok)
	addr, _, _ := strings.Cut(rest, `"`)
	return addr
}

// says waits until the daemon has logged something.
func (c *child) says(text string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return strings.Contains(c.out.String(), text) }, time.Minute, 10*time.Millisecond, "daemon does not say %s", text)
}

// times is how often the daemon has said text.
func (c *child) times(text string) int { return strings.Count(c.out.String(), text) }

// procState is a line of /proc/<pid>/status of the daemon.
func (c *child) procState(key string) string {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	require.NoError(c.t, err)
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			return strings.TrimSpace(v)
		}
	}
	require.FailNow(c.t, "no such line", "%s in %s", key, b)
	return ""
}

// notReadyFor is what /readyz says is wrong under one check; "" when it is well.
func (c *child) notReadyFor(check string) string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.address()+"/readyz?verbose", nil)
	require.NoError(c.t, err)
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, res.Body.Close()) }()
	body, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	for line := range strings.Lines(string(body)) {
		switch {
		case strings.HasPrefix(line, "[-]"+check+" "):
			require.NotEqual(c.t, http.StatusOK, res.StatusCode)
			return line
		case strings.HasPrefix(line, "[+]"+check+" ok"):
			return ""
		}
	}
	require.FailNow(c.t, "no such check", "%s in %s", check, body)
	return ""
}
