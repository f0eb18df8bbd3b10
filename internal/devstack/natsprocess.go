package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// NATSProcess is a nats-server in a process of its own, which can be killed.
type NATSProcess struct {
	options NATSOptions
	binary  string
	name    string // the server's, over all restarts

	mu   sync.Mutex // guards proc and port; never held across a wait
	proc *process
	port int

	monitor int // port; 0 is none

	// life is held by whoever starts the server, so that two never do at once.
	life chan struct{}
}

// StartNATSProcess starts a nats-server process and returns when it answers. ctx
// bounds that wait.
func StartNATSProcess(ctx context.Context, o NATSOptions) (*NATSProcess, error) {
	binary, err := findNATS()
	if err != nil {
		return nil, err
	}
	if o, err = o.prepared(); err != nil {
		return nil, err
	}
	n := &NATSProcess{options: o, binary: binary, name: drawServerName(), port: o.Port, life: make(chan struct{}, 1)}
	if o.Monitor {
		if n.monitor, err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// URL is what clients connect to, the same over all restarts.
func (n *NATSProcess) URL() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "nats://" + localAddr(n.port)
}

// MonitorURL is where the server answers requests of its state (/varz, /jsz, …); empty unless it was asked for.
func (n *NATSProcess) MonitorURL() string {
	if n.monitor == 0 {
		return ""
	}
	return "http://" + localAddr(n.monitor)
}

// Name is the server's name, the same over all restarts.
func (n *NATSProcess) Name() string { return n.name }

// Dir is the server's folder.
func (n *NATSProcess) Dir() string { return n.options.Dir }

// Pid is the process id of the server's latest run.
func (n *NATSProcess) Pid() int { return n.process().pid() }

// Done is closed when the server's latest run has ended, for whatever reason.
func (n *NATSProcess) Done() <-chan struct{} { return n.process().done }

// Kill ends the server with SIGKILL, as a crash would, and returns when it is gone.
func (n *NATSProcess) Kill() { n.process().kill() }

// Stop shuts the server down cleanly and returns when it is gone: at the latest when
// ctx ends, for then it is killed and Stop returns the reason. It is idempotent.
func (n *NATSProcess) Stop(ctx context.Context) error {
	p := n.process()
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("stop nats-server: killed: %w", context.Cause(ctx))
	}
}

// Restart starts the server again, on the same folder and port, and returns when it
// answers. One that still runs is stopped first.
func (n *NATSProcess) Restart(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	return n.start(ctx)
}

func (n *NATSProcess) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *NATSProcess) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	select {
	case n.life <- struct{}{}:
		defer func() { <-n.life }()
	case <-ctx.Done():
		return fmt.Errorf("start nats-server: %w", context.Cause(ctx))
	}
	if p := n.process(); p != nil && p.running() {
		return nil // another Restart was first
	}
	lock, err := lockFolder(ctx, n.options.Dir)
	if err != nil {
		return fmt.Errorf("start nats-server: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }() // the child has its own
	return onPort(ctx, n.port, func(port int) error {
		p, err := n.run(ctx, lock, port)
		if err != nil {
			return err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.proc, n.port = p, port
		return nil
	})
}

// run starts the child once and waits until it answers; if it does not, nothing of
// it is left.
func (n *NATSProcess) run(ctx context.Context, lock *os.File, port int) (_ *process, err error) {
	dir := n.options.Dir
	config := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(config, n.config(port), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	log, offset, err := openLog(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	cmd := exec.Command(n.binary, "--config", config) //nolint:noctx // ctx bounds its start, not its life
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	p, err := startProcess(cmd, !n.options.OutliveParent)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(noteHolder(lock, p.pid()), n.awaitAnswer(ctx, p, port)); err != nil {
		p.kill()
		return nil, fmt.Errorf("start nats-server: %w; its log:\n%s", err, logTail(dir, offset))
	}
	return p, nil
}

// config is the server's configuration file.
func (n *NATSProcess) config(port int) []byte {
	text := fmt.Appendf(nil, "server_name: %s\nlisten: %q\njetstream {\n  store_dir: %s\n",
		n.name, localAddr(port), strconv.Quote(filepath.Join(n.options.Dir, dataFolder)))
	if n.options.SyncAlways {
		text = append(text, "  sync_interval: always\n"...)
	}
	if n.options.MaxStore > 0 {
		text = fmt.Appendf(text, "  max_file_store: %d\n", n.options.MaxStore)
	}
	text = append(text, "}\n"...)
	if n.monitor > 0 {
		text = fmt.Appendf(text, "http: %q\n", localAddr(n.monitor))
	}
	return append(text, n.options.cluster.config(n.options.clusterNode)...)
}

// awaitAnswer returns when our server answers on port; a stranger has another name.
func (n *NATSProcess) awaitAnswer(ctx context.Context, p *process, port int) error {
	for {
		c, err := nats.Connect("nats://"+localAddr(port), nats.NoReconnect(), nats.Timeout(2*time.Second))
		if err == nil {
			name := c.ConnectedServerName()
			c.Close()
			if name == n.name {
				return nil
			}
			err = fmt.Errorf("another server, %s, answered", name)
		}
		select {
		case <-p.done:
			return fmt.Errorf("server ended: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("no answer (%w): %w", err, context.Cause(ctx))
		case <-time.After(15 * time.Millisecond):
		}
	}
}
