package bench

import "github.com/prometheus/procfs"

// cpuModel is what the processor calls itself; empty where it does not.
func cpuModel(fs procfs.FS) string {
	cpus, err := fs.CPUInfo()
	if err != nil || len(cpus) == 0 {
		return ""
	}
	return cpus[0].ModelName
}
