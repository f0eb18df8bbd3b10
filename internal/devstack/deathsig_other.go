//go:build !linux

package devstack

import "syscall"

// setParentDeathSignal does nothing: only Linux can tie a child's life to its
// parent's. Elsewhere a killed parent leaves its servers running, and the next
// start on the same folder says which pid holds it.
func setParentDeathSignal(*syscall.SysProcAttr) {}
