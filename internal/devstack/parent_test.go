package devstack_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack"
	"github.com/persistd/persistd/internal/devstack/stacktest"
)

// parentVariable makes this test binary a parent: it names the folder in which to
// start a database and then hang until killed.
const parentVariable = "DEVSTACK_TEST_PARENT"

func runAsParent() bool {
	dir := os.Getenv(parentVariable)
	if dir == "" {
		return false
	}
	engine, err := devstack.ParseEngine(os.Getenv(stacktest.EngineVariable))
	if err != nil {
		panic(err)
	}
	root, err := devstack.RepoRoot()
	if err != nil {
		panic(err)
	}
	// On a goroutine that ends at once, as the thread it ran on may do, too.
	pids := make(chan int)
	go func() {
		db, err := devstack.StartDatabase(context.Background(), devstack.DatabaseOptions{
			Engine: engine, Dir: dir, Relaxed: true, Templates: filepath.Join(root, ".cache", "devstack"),
			OutliveParent: os.Getenv(parentVariable+"_OUTLIVED") != "",
		})
		if err != nil {
			panic(err)
		}
		pids <- db.Pid()
	}()
	fmt.Println(<-pids)
	select {}
}

// startParent returns a parent process and the pid of the database it started.
func startParent(t *testing.T, dir string, env ...string) (parent *exec.Cmd, child int) {
	t.Helper()
	parent = exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), append(env, parentVariable+"="+dir)...)
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	child, err = strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	return parent, child
}

func kill(t *testing.T, parent *exec.Cmd) {
	t.Helper()
	require.NoError(t, parent.Process.Kill())
	require.ErrorContains(t, parent.Wait(), "killed")
}

// alive tells whether pid is a process that is not a zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestDatabaseDiesWithItsParent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent, child := startParent(t, dir)
	require.True(t, alive(child))
	kill(t, parent)
	require.Eventually(t, func() bool { return !alive(child) }, time.Minute, 10*time.Millisecond)
}

func TestNextStartOnTheFolderOfAKilledParentSucceedsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent, _ := startParent(t, dir)
	kill(t, parent)
	db, err := devstack.StartDatabase(t.Context(), devstack.DatabaseOptions{Engine: stacktest.Engine(t), Dir: dir})
	require.NoError(t, err)
	db.Kill()
}

func TestDatabaseOutlivesItsParentWhenAsked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	parent, child := startParent(t, dir, parentVariable+"_OUTLIVED=1")
	kill(t, parent)
	_, err := devstack.StartDatabase(t.Context(), devstack.DatabaseOptions{Engine: stacktest.Engine(t), Dir: dir})
	require.ErrorContains(t, err, fmt.Sprintf("in use by another server (pid %d)", child), "it holds its folder")
	require.NoError(t, syscall.Kill(child, syscall.SIGKILL))
	require.Eventually(t, func() bool { return !alive(child) }, time.Minute, 10*time.Millisecond)
}

func portOf(t *testing.T, raw string) int {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(u.Host)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	return n
}
