package devstack

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is one run of a child. The goroutine that started it also waits for it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the child is reaped
	err  error         // how it ended; to be read after done
}

// startProcess runs cmd as a child in a process group of its own, so that the
// Ctrl-C meant for its parent does not reach it: the parent decides when it stops.
//
// With dieWithParent the kernel kills the child when its parent ends. The kernel
// takes "parent" to be the thread that forked, and the Go runtime ends threads as
// it sees fit; therefore a goroutine locked to its thread forks the child and then
// waits for it, which keeps that thread alive for exactly as long as the child.
func startProcess(cmd *exec.Cmd, dieWithParent bool) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if dieWithParent {
		setParentDeathSignal(cmd.SysProcAttr)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// running tells whether the child has not been reaped yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// signal sends sig; a child that has already ended is no error.
func (p *process) signal(sig os.Signal) { _ = p.cmd.Process.Signal(sig) }

// kill ends the child with SIGKILL and waits until it is reaped.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}
