package chaos

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/devstack"
)

// buildDaemon builds persistd as the sources are now: a binary that lies about somewhere may be of any age.
func buildDaemon(t *testing.T) string {
	t.Helper()
	root, err := devstack.RepoRoot()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "persistd")
	args := []string{"build", "-o", path}
	if underRace {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, "./cmd/persistd")...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// daemon is `persistd serve` as a process, again and again.
type daemon struct {
	name   string
	binary string
	env    []string
	log    string // file that all its lives write to

	mu       sync.Mutex // guards what follows; nothing blocks while it is held
	process  *devstack.Program
	began    int64 // where in the log its life begins
	expected bool  // that it ends
	seen     map[string]float64
	total    map[string]float64
}

func newDaemon(dir, binary, name string, env ...string) *daemon {
	// What is set for another daemon on this machine is not for this one.
	own := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, config.EnvPrefix) })
	return &daemon{
		name: name, binary: binary, log: filepath.Join(dir, name+".log"), env: append(own, env...),
		total: map[string]float64{}, seen: map[string]float64{},
	}
}

// start starts a life.
func (d *daemon) start() error {
	out, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", d.name, err)
	}
	defer func() { _ = out.Close() }()
	info, err := out.Stat()
	if err != nil {
		return fmt.Errorf("look at log of %s: %w", d.name, err)
	}
	cmd := exec.Command(d.binary, "serve")
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env, out, out
	p, err := devstack.StartProgram(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", d.name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.process, d.began, d.expected = p, info.Size(), false
	return nil
}

func (d *daemon) current() *devstack.Program {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.process
}

func (d *daemon) pid() int { return d.current().Pid() }

func (d *daemon) kill() {
	d.mu.Lock()
	d.expected = true
	p := d.process
	for k, v := range d.seen { // what this life counted
		d.total[k] += v
	}
	clear(d.seen)
	d.mu.Unlock()
	p.Kill()
}

// terminate ends it as Kubernetes would, and returns how it ended.
func (d *daemon) terminate(limit time.Duration) error {
	d.mu.Lock()
	d.expected = true
	p := d.process
	d.mu.Unlock()
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.Done():
	case <-time.After(limit):
		p.Kill()
		return fmt.Errorf("%s did not stop within %s", d.name, limit)
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("%s stopped with %w", d.name, err)
	}
	return nil
}

// alive says how it ended, if it did and nobody asked it to.
func (d *daemon) alive() error {
	d.mu.Lock()
	p, expected := d.process, d.expected
	d.mu.Unlock()
	select {
	case <-p.Done():
		if !expected {
			return fmt.Errorf("%s ended by itself: %w\n%s", d.name, p.Err(), d.tail())
		}
	default:
	}
	return nil
}

// tail is the end of its log.
func (d *daemon) tail() string {
	b, err := os.ReadFile(d.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-6000):])
}

// lines are how many lines of all its lives' logs hold each of texts.
func (d *daemon) lines(texts ...string) map[string]int {
	n := map[string]int{}
	f, err := os.Open(d.log)
	if err != nil {
		return n
	}
	defer func() { _ = f.Close() }()
	for in := bufio.NewScanner(f); in.Scan(); {
		for _, text := range texts {
			if strings.Contains(in.Text(), text) {
				n[text]++
			}
		}
	}
	return n
}

// address is where the present life answers HTTP, or "".
func (d *daemon) address() string {
	d.mu.Lock()
	from := d.began
	d.mu.Unlock()
	f, err := os.Open(d.log)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return ""
	}
	for in := bufio.NewScanner(f); in.Scan(); {
		if _, rest, ok := strings.Cut(in.Text(), `"http":"`); ok {
			addr, _, _ := strings.Cut(rest, `"`)
			return addr
		}
	}
	return ""
}

// scrape keeps what its metrics say.
func (d *daemon) scrape(ctx context.Context) {
	addr, p := d.address(), d.current()
	if addr == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // it is dead, or stopped
	}
	defer func() { _ = resp.Body.Close() }()
	values := map[string]float64{}
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		name, value, ok := strings.Cut(in.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil && strings.HasPrefix(name, "persistd_") {
			values[name] = v
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.process == p && !d.expected {
		d.seen = values
	}
}

// counted is the sum, over all lives, of the metrics whose name begins with prefix.
func (d *daemon) counted(prefix string, having ...string) (n float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, values := range []map[string]float64{d.total, d.seen} {
		for k, v := range values {
			if strings.HasPrefix(k, prefix) && !slices.ContainsFunc(having, func(h string) bool { return !strings.Contains(k, h) }) {
				n += v
			}
		}
	}
	return n
}
