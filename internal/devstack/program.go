package devstack

import (
	"os"
	"os/exec"
)

// Program is a child that is none of this package's servers: persistd itself, say. It dies with this process, however that ends (Linux
// only).
type Program struct{ process *process }

// StartProgram starts cmd, in a process group of its own, and does not wait for it.
func StartProgram(cmd *exec.Cmd) (*Program, error) {
	p, err := startProcess(cmd, true)
	if err != nil {
		return nil, err
	}
	return &Program{p}, nil
}

// Pid is its process id.
func (p *Program) Pid() int { return p.process.pid() }

// Done is closed when it has ended, for whatever reason.
func (p *Program) Done() <-chan struct{} { return p.process.done }

// Err is how it ended, nil for with success. It waits for the end.
func (p *Program) Err() error {
	<-p.process.done
	return p.process.err
}

// State is what the system says of it when it has ended. It waits for the end.
func (p *Program) State() *os.ProcessState {
	<-p.process.done
	return p.process.cmd.ProcessState
}

// Signal sends sig; a program that has ended is no error.
func (p *Program) Signal(sig os.Signal) { p.process.signal(sig) }

// Kill ends it with SIGKILL, stopped or not, and returns when it is gone.
func (p *Program) Kill() { p.process.kill() }
