package load

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// maxNap is how long a sleeper does not see that it is to end.
const maxNap = 20 * time.Millisecond

// sleepUntil sleeps in the kernel: a goroutine's timers are looked after with a resolution of a millisecond.
func sleepUntil(_ context.Context, until time.Time) {
	d := min(time.Until(until), maxNap)
	if d <= 0 {
		return
	}
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil) // who was woken early sleeps again
}

// pinned gives the goroutine a thread that the kernel wakes as exactly as it can. The thread ends with the goroutine, since it is no longer as
// others are; so there is nothing to undo.
func pinned() (unpin func()) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else it is 50 µs late
	return func() {}
}
