package bench

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/prometheus/procfs"
)

// Machine is what the figures are of. What could not be found out is "unknown".
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	// Disk is the file system, and the device, on which the servers' data was.
	Disk string `json:"disk"`
}

// describe looks at this machine; dir is where the servers' data is.
func describe(dir string) Machine {
	m := Machine{CPU: "unknown", Cores: runtime.NumCPU(), Memory: "unknown", Kernel: "unknown", Disk: "unknown"}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return m
	}
	m.CPU = cmp.Or(cpuModel(fs), m.CPU)
	if mem, err := fs.Meminfo(); err == nil && mem.MemTotalBytes != nil {
		m.Memory = humanize.IBytes(*mem.MemTotalBytes)
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = runtime.GOOS + " " + strings.TrimSpace(string(release))
	}
	if mounts, err := fs.GetMounts(); err == nil {
		m.Disk = diskOf(cmp.Or(dir, os.TempDir()), mounts, m.Disk)
	}
	return m
}

// diskOf is the file system of dir: that of the mount nearest above it, and of several there the last.
func diskOf(dir string, mounts []*procfs.MountInfo, disk string) string {
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	longest := 0
	for _, m := range mounts {
		if inside(dir, m.MountPoint) && len(m.MountPoint) >= longest {
			longest, disk = len(m.MountPoint), fmt.Sprintf("%s on %s", m.FSType, m.Source)
		}
	}
	return disk
}

// inside is whether dir is root or below it.
func inside(dir, root string) bool {
	return root == "/" || dir == root || strings.HasPrefix(dir, root+"/")
}
