// Package usage tells what processes cost: the CPU time they used, how long they waited for a core, and the most memory they held, between two moments.
//
//	Begin ──▶ peak memory of each is forgotten, CPU time noted ──── what is measured ────▶ Meter.Since: what each used since
//
// It asks the kernel, of any process of the same user, and costs a small read for each thread. CPU time is user and system time of all threads,
// to the nanosecond. Peak memory is the resident set, pages of files included, and never less than what was resident at Begin: a process that
// has memory left over from before keeps showing it. Linux only; elsewhere Begin fails.
package usage

import (
	"errors"
	"fmt"
	"time"
)

// Process is one to be measured.
type Process struct {
	// Name is what its figures are called.
	Name string
	// PID is its process id. It must live until it was measured.
	PID int
}

// Used is what a process used in a time.
type Used struct {
	// CPU is the time that its threads ran, on whatever cores.
	CPU time.Duration
	// Waited is for how long its threads could have run and had no core, those that ended meanwhile not counted; nil where the kernel does not tell.
	Waited *time.Duration
	// PeakMemory is the most bytes that were resident at once.
	PeakMemory int64
}

// Meter is a measurement under way.
type Meter struct {
	processes []Process
	began     []time.Duration
	waited    []waits
}

// Begin begins to measure.
func Begin(processes ...Process) (*Meter, error) {
	m := &Meter{processes: processes}
	for _, p := range processes {
		if err := forgetPeak(p.PID); err != nil {
			return nil, fmt.Errorf("measure %s: %w", p.Name, err)
		}
		used, err := cpuTime(p.PID)
		if err != nil {
			return nil, fmt.Errorf("measure %s: %w", p.Name, err)
		}
		m.began, m.waited = append(m.began, used), append(m.waited, waitsOf(p.PID))
	}
	return m, nil
}

// Since is what each process used since Begin, by its name. It may be asked again.
func (m *Meter) Since() (map[string]Used, error) {
	all, errs := map[string]Used{}, []error(nil)
	for i, p := range m.processes {
		cpu, err := cpuTime(p.PID)
		if err != nil {
			errs = append(errs, fmt.Errorf("measure %s: %w", p.Name, err))
			continue
		}
		peak, err := peakMemory(p.PID)
		if err != nil {
			errs = append(errs, fmt.Errorf("measure %s: %w", p.Name, err))
			continue
		}
		all[p.Name] = Used{CPU: cpu - m.began[i], Waited: waitsOf(p.PID).since(m.waited[i]), PeakMemory: peak}
	}
	return all, errors.Join(errs...)
}

// waits are for how long a process's threads have waited for a core, by their ids; nil when that is not known.
type waits map[int]time.Duration

// since is how much longer w's threads waited than before's.
func (w waits) since(before waits) *time.Duration {
	if w == nil || before == nil {
		return nil
	}
	var all time.Duration
	for thread, waited := range w {
		all += max(0, waited-before[thread]) // an id may be another thread's by now
	}
	return &all
}

// lookEvery is how often PeakUntil looks.
const lookEvery = 20 * time.Millisecond

// PeakUntil is the peak of a process's resident memory, as it was last seen before done was closed: of one that has ended there is nothing to see. What wait4(2)
// says of a child is of no use here: it is never less than what its parent held when it was started.
func PeakUntil(done <-chan struct{}, pid int) (peak int64) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if seen, err := peakMemory(pid); err == nil {
			peak = max(peak, seen)
		}
		select {
		case <-done:
			return peak
		case <-tick.C:
		}
	}
}
