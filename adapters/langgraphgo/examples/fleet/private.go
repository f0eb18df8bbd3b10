package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// private is `persistd dev` in a folder of its own: a NATS server, a database and persistd.
type private struct {
	natsURL string
	dir     string
	cmd     *exec.Cmd
}

// startPrivate starts one and returns when it says where it is.
func startPrivate(ctx context.Context, program string) (_ *private, err error) {
	dir, err := os.MkdirTemp("", "persistd-fleet-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	p := &private{dir: dir, cmd: exec.CommandContext(context.WithoutCancel(ctx), program, "dev", "--dir", dir, "--nats-port", "0")} //nolint:gosec // G204: what the user named.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                                                                         // Ctrl-C is not for it: stop ends it, after the workers
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start %s dev: %w", program, err), os.RemoveAll(dir))
		}
	}()
	p.cmd.Env = append(os.Environ(), "PERSISTD_HTTP_LISTEN=127.0.0.1:0", "PERSISTD_LOG_LEVEL=warn")
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped above.
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if url, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "NATS "); ok {
			p.natsURL = strings.TrimSpace(url)
			go func() { // what else it says would otherwise fill the pipe
				for lines.Scan() {
				}
			}()
			return p, nil
		}
	}
	return nil, errors.Join(errors.New("it ended"), p.cmd.Wait())
}

// stop ends it and removes what it kept.
func (p *private) stop() error {
	err := errors.Join(p.cmd.Process.Signal(syscall.SIGTERM), p.cmd.Wait(), os.RemoveAll(p.dir))
	if err != nil {
		return fmt.Errorf("stop private persistd: %w", err)
	}
	return nil
}
