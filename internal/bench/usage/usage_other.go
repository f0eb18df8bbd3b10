//go:build !linux

package usage

import (
	"errors"
	"time"
)

var errNotLinux = errors.New("CPU time and memory of other processes are measured on Linux only")

func cpuTime(int) (time.Duration, error) { return 0, errNotLinux }

func waitsOf(int) waits { return nil }

func peakMemory(int) (int64, error) { return 0, errNotLinux }

func forgetPeak(int) error { return errNotLinux }
