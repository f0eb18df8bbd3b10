package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/persistd/persistd/internal/config"
	"github.com/persistd/persistd/internal/devstack"
)

// daemon is `persistd serve` as a process of its own, which can be killed.
type daemon struct {
	binary  string
	env     []string
	log     string
	process *devstack.Program // nil when there is none
}

// start starts the process; what it logs is appended to its file.
func (d *daemon) start() error {
	out, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open daemon's log: %w", err)
	}
	cmd := exec.Command(d.binary, "serve") //nolint:gosec,noctx // G204: our own binary; it is ended by kill or stop.
	// What is set for another daemon on this machine is not for this one.
	own := slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, config.EnvPrefix) })
	cmd.Env = append(own, d.env...)
	cmd.Stdout, cmd.Stderr = out, out
	d.process, err = devstack.StartProgram(cmd)
	if err := errors.Join(err, out.Close()); err != nil { // the child has its own
		return fmt.Errorf("start daemon: %w", err)
	}
	return nil
}

// kill sends SIGKILL and waits.
func (d *daemon) kill() {
	if d.process != nil {
		d.process.Kill()
		d.process = nil
	}
}

// stop sends SIGTERM and waits for a clean exit; after limit it kills.
func (d *daemon) stop(limit time.Duration) error {
	if d.process == nil {
		return nil
	}
	d.process.Signal(syscall.SIGTERM)
	select {
	case <-d.process.Done():
		err := d.process.Err()
		d.process = nil
		if err != nil {
			return fmt.Errorf("stop daemon: %w", err)
		}
		return nil
	case <-time.After(limit):
		d.kill()
		return fmt.Errorf("stop daemon: it did not stop within %s", limit)
	}
}

// tail is the end of the daemon's log.
func (d *daemon) tail() string {
	f, err := os.Open(d.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 4096 {
		_, _ = f.Seek(-4096, io.SeekEnd)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return ""
	}
	return string(b)
}

// newDaemon prepares the process, with everything that it needs in its environment.
func newDaemon(dir, natsURL, dsn string) (*daemon, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	return &daemon{
		binary: self, log: filepath.Join(dir, "daemon.log"),
		env: []string{
			"PERSISTD_NATS_URL=" + natsURL, "PERSISTD_MYSQL_DSN=" + dsn, "PERSISTD_HTTP_LISTEN=127.0.0.1:0",
			// A stable name lets the restarted daemon take its own leases back at once, as a pod's container does.
			"PERSISTD_INSTANCE=demo",
		},
	}, nil
}

// errWent is the daemon having ended by itself.
var errWent = errors.New("daemon ended by itself")

// alive returns errWent if the process ended although nobody asked it to.
func (d *daemon) alive(context.Context) error {
	if d.process == nil {
		return nil
	}
	select {
	case <-d.process.Done():
		err := d.process.Err()
		d.process = nil
		return fmt.Errorf("%w: %w\n%s", errWent, err, d.tail())
	default:
		return nil
	}
}
