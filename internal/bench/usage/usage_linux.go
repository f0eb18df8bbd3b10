package usage

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// cpuTime asks the process's own clock, as clock_getcpuclockid(3) names it: /proc/<pid>/stat counts hundredths of a second.
func cpuTime(pid int) (time.Duration, error) {
	const schedClock = 2 // of all threads together
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil { //nolint:gosec // G115: how the kernel makes it, of 22 bits at most.
		return 0, fmt.Errorf("read CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// waitsOf asks the kernel's scheduler, which counts where it was built with CONFIG_SCHED_INFO: most are.
func waitsOf(pid int) waits {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return nil
	}
	w := waits{}
	for _, t := range threads {
		if s, err := t.Schedstat(); err == nil { // or it has ended
			w[t.PID] = time.Duration(s.WaitingNanoseconds) //nolint:gosec // G115: nanoseconds.
		}
	}
	if len(w) == 0 {
		return nil
	}
	return w
}

func peakMemory(pid int) (int64, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return 0, fmt.Errorf("find process: %w", err)
	}
	status, err := p.NewStatus()
	if err != nil {
		return 0, fmt.Errorf("read memory of process %d: %w", pid, err)
	}
	return int64(status.VmHWM), nil //nolint:gosec // G115: bytes of memory.
}

// forgetPeak sets the peak to what is resident now.
func forgetPeak(pid int) error {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/clear_refs", pid), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("reset peak memory: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString("5"); err != nil {
		return fmt.Errorf("reset peak memory of process %d: %w", pid, err)
	}
	return nil
}
