package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/devstack"
)

// Child is `persistd serve`, a process.
type Child struct {
	program *devstack.Program
	log     string // its file

	acquired chan struct{} // closed when it has its first partition
	serving  chan struct{} // closed when it answers
	heard    chan struct{} // closed when nothing more is heard of it

	mu         sync.Mutex // guards what follows
	acquiredAt time.Time
	http       string
}

const stopWait = time.Minute

// SpawnDaemon starts a daemon and does not wait for anything. Settings are added to the rig's, and win.
func (r *Rig) SpawnDaemon(settings ...string) (*Child, error) {
	if r.daemon != nil && r.daemon.running() {
		return nil, errors.New("start daemon: there is one already")
	}
	cmd := exec.Command(r.options.Binary, "serve") //nolint:gosec,noctx // G204: our own binary; it is ended by Stop or Kill.
	cmd.Env = r.environment(settings...)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start daemon: %w", err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	c := &Child{
		log: filepath.Join(r.dir, "daemon.log"), acquired: make(chan struct{}), serving: make(chan struct{}), heard: make(chan struct{}),
	}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		c.program, err = devstack.StartProgram(cmd)
	}
	err = errors.Join(err, in.Close()) // the child has its own
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start daemon: %w", err), out.Close())
	}
	go c.listen(out, log) // ends with the process
	r.daemon = c
	return c, nil
}

// StartDaemon starts a daemon and returns when it answers. ctx bounds that.
func (r *Rig) StartDaemon(ctx context.Context, settings ...string) (*Child, error) {
	c, err := r.SpawnDaemon(settings...)
	if err != nil {
		return nil, err
	}
	return c, c.await(ctx, c.serving, "answer")
}

// environment is the daemon's: what is set for another daemon on this machine is not for this one.
func (r *Rig) environment(settings ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, config.EnvPrefix) || strings.HasPrefix(kv, "MYSQL_DSN=")
	})
	env = append(env, "PERSISTD_NATS_URL="+r.URL(), "PERSISTD_MYSQL_DSN="+r.DSN(), "PERSISTD_HTTP_LISTEN=127.0.0.1:0",
		"PERSISTD_INSTANCE=bench", "PERSISTD_MYSQL_WRITERS="+strconv.Itoa(r.options.Connections))
	env = append(env, r.options.Settings...)
	return append(env, settings...)
}

// listen reads what the daemon says, keeps it, and notes the moments.
func (c *Child) listen(out io.ReadCloser, log *os.File) {
	defer close(c.heard)
	defer log.Close()
	defer out.Close()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = log.Write(line) // for people, when something is wrong
		switch {
		case bytes.Contains(line, []byte(`"partition acquired"`)):
			c.note(c.acquired, line)
		case bytes.Contains(line, []byte(`"msg":"serving"`)):
			c.note(c.serving, line)
		}
		if err != nil {
			return
		}
	}
}

// note notes a moment of which a line tells. It was when the daemon said so: on a busy machine we hear of it later.
func (c *Child) note(moment chan struct{}, line []byte) {
	said := struct {
		TS   time.Time
		HTTP string
	}{TS: time.Now()}
	_ = json.Unmarshal(line, &said) // what it does not say stays as it is
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-moment:
		return // not the first
	default:
	}
	if moment == c.acquired {
		c.acquiredAt = said.TS
	} else {
		c.http = said.HTTP
	}
	close(moment)
}

// Acquired waits for the daemon to have its first partition, which is before it reads the first event, and returns when that was.
func (c *Child) Acquired(ctx context.Context) (time.Time, error) {
	err := c.await(ctx, c.acquired, "acquire a partition")
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.acquiredAt, err
}

// Serving waits for the daemon to answer.
func (c *Child) Serving(ctx context.Context) error { return c.await(ctx, c.serving, "answer") }

func (c *Child) await(ctx context.Context, moment <-chan struct{}, what string) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	select {
	case <-moment:
		return nil
	case <-c.program.Done():
		return fmt.Errorf("wait for daemon to %s: it ended (%v); its log:\n%s", what, c.program.Err(), c.tail()) //nolint:errorlint // nil when it ended well.
	case <-ctx.Done():
		return fmt.Errorf("wait for daemon to %s: %w; its log:\n%s", what, context.Cause(ctx), c.tail())
	}
}

// HTTP is the address at which it answers /metrics and /readyz; empty before it serves.
func (c *Child) HTTP() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.http
}

// Alive returns an error if the daemon ended by itself.
func (c *Child) Alive() error {
	if c.running() {
		return nil
	}
	return fmt.Errorf("daemon ended by itself (%v); its log:\n%s", c.program.Err(), c.tail()) //nolint:errorlint // nil when it ended well.
}

// PID is its process id.
func (c *Child) PID() int { return c.program.Pid() }

func (c *Child) running() bool {
	select {
	case <-c.program.Done():
		return false
	default:
		return true
	}
}

// Stop has the daemon commit what it has read, and waits for its end; at the end of ctx, or after a minute, it is killed. It is idempotent.
func (c *Child) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	c.program.Signal(syscall.SIGTERM)
	select {
	case <-c.program.Done():
	case <-ctx.Done():
		c.Kill()
		return fmt.Errorf("stop daemon: killed: %w; its log:\n%s", context.Cause(ctx), c.tail())
	}
	<-c.heard
	if err := c.program.Err(); err != nil {
		return fmt.Errorf("stop daemon: %w; its log:\n%s", err, c.tail())
	}
	return nil
}

// Kill ends it with SIGKILL.
func (c *Child) Kill() {
	c.program.Kill()
	<-c.heard
}

// tail is the end of what it said.
func (c *Child) tail() string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4096):])
}
