package rig

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/persistd/persistd/internal/bench/usage"
	"github.com/persistd/persistd/internal/devstack"
)

// Command runs another command of persistd, on the rig's servers, and returns what it prints and what it used in all its life. When ctx ends it is told to stop.
func (r *Rig) Command(ctx context.Context, args ...string) ([]byte, usage.Used, error) {
	cmd := exec.Command(r.options.Binary, args...) //nolint:gosec,noctx // G204: our own binary; see below for the ctx.
	cmd.Env = r.environment()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	p, err := devstack.StartProgram(cmd)
	if err != nil {
		return nil, usage.Used{}, fmt.Errorf("run persistd %s: %w", args[0], err)
	}
	peak := make(chan int64, 1)
	go func() { peak <- usage.PeakUntil(p.Done(), p.Pid()) }() // ends with the process
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Signal(syscall.SIGTERM)
		select {
		case <-p.Done():
		case <-time.After(stopWait):
			p.Kill()
		}
		return nil, usage.Used{}, fmt.Errorf("run persistd %s: %w", args[0], context.Cause(ctx))
	}
	if err := p.Err(); err != nil {
		return nil, usage.Used{}, fmt.Errorf("run persistd %s: %w: %s", args[0], err, errs.Bytes()[max(0, errs.Len()-4096):])
	}
	state := p.State()
	return out.Bytes(), usage.Used{CPU: state.UserTime() + state.SystemTime(), PeakMemory: <-peak}, nil
}
