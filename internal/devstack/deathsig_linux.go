package devstack

import "syscall"

// setParentDeathSignal has the kernel kill the child when the forking thread ends.
func setParentDeathSignal(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
