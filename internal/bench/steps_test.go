package bench

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"
)

func TestSizedStatesAreJSONOfThatSizeAndNoStepComesTwice(t *testing.T) {
	t.Parallel()
	for _, size := range []int{64, 256, 1 << 10, 32 << 10} {
		w := Sized(size)
		steps := w.Make("p", 500)
		require.Len(t, steps, 500)
		require.Equal(t, size, w.Bytes)
		for _, s := range steps {
			require.True(t, json.Valid(s.State))
			require.Len(t, s.State, size)
		}
		unique(t, steps)
		require.Equal(t, steps, w.Make("p", 500), "reproducible")
	}
}

func TestRecordedStepsAreRepeatedUnderOtherRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "steps")
	require.NoError(t, os.WriteFile(path, []byte(`{"run_id":"a","step":1,"node_id":"x","state":{}}
		{"run_id":"a","step":1,"node_id":"y","state":[1]}
		{"run_id":"b","step":1,"node_id":"z","state":"four"}`), 0o600))
	b := &Bench{Options: Options{Sizes: []int{256}, Steps: path}}
	loads, err := b.Workloads()
	require.NoError(t, err)
	require.Equal(t, []string{"256B", SizeSteps}, []string{loads[0].Size, loads[1].Size})
	steps := loads[1].Make("p", 7)
	unique(t, steps)
	require.Len(t, steps, 7)
	var said []string
	for _, s := range steps {
		said = append(said, s.Node+string(s.State))
	}
	require.Equal(t, []string{"x{}", "y[1]", `z"four"`, "x{}", "y[1]", `z"four"`, "x{}"}, said)
	require.Equal(t, (2+3+6)/3, loads[1].Bytes)

	f, err := describeSteps(path)
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, &StepsFile{"steps", 3, 3, fmt.Sprintf("%x", sha256.Sum256(content))[:12]}, f)
	_, err = describeSteps(filepath.Join(t.TempDir(), "absent"))
	require.ErrorContains(t, err, "read --steps: open")
	report, err := Run(t.Context(), Options{Steps: path, Dir: t.TempDir()}, nil)
	require.NoError(t, err)
	require.Equal(t, f, report.Steps)
	_, err = Run(t.Context(), Options{Steps: filepath.Join(t.TempDir(), "absent")}, nil)
	require.ErrorContains(t, err, "read --steps: open", "before anything is started")

	b.again = true
	loads, err = b.Workloads()
	require.NoError(t, err)
	require.Len(t, loads, 1, "the second way to sync is measured with the first of them")
	require.Equal(t, "256B", loads[0].Size)

	b.again, b.Steps = false, filepath.Join(t.TempDir(), "absent")
	_, err = b.Workloads()
	require.ErrorContains(t, err, "read --steps: open steps:")
}

func unique(t *testing.T, steps []Step) {
	t.Helper()
	type key struct {
		run  string
		step int
	}
	seen := map[key]bool{}
	for _, s := range steps {
		require.False(t, seen[key{s.Run, s.Step}], s.Run)
		seen[key{s.Run, s.Step}] = true
	}
}

func TestSizesAreReadAndWritten(t *testing.T) {
	t.Parallel()
	sizes, err := ParseSizes("256, 1KiB,8KiB,32KiB,1000")
	require.NoError(t, err)
	require.Equal(t, []int{256, 1024, 8192, 32768, 1000}, sizes)
	require.Equal(t, []string{"256B", "1KiB", "1000B"}, []string{SizeName(256), SizeName(1024), SizeName(1000)})
	for _, bad := range []string{"", "1", "63", "1MiB", "many", "1KiB,"} {
		_, err := ParseSizes(bad)
		require.ErrorContains(t, err, "want 64 to 512KiB", bad)
	}
}

func TestRawInsertsHaveAllRowsInTheOrderOfTheKey(t *testing.T) {
	t.Parallel()
	steps := []Step{
		{Run: "b", Step: 1, Node: "n", State: []byte(`{"a":"it's \\"}`)}, {Run: "a", Step: 2, Node: "n", State: []byte("2")}, {Run: "a", Step: 1, Node: "n", State: []byte("1")},
	}
	require.Equal(t, []string{`INSERT INTO workflow_steps (run_id, step, node_id, state, created_at, log_seq, log_gen) VALUES ` +
		`('a',1,'n','1',NOW(6),1,1),('a',2,'n','2',NOW(6),2,1),('b',1,'n','{"a":"it\'s \\\\"}',NOW(6),3,1)`}, rawInserts(steps))
	require.Len(t, rawInserts(Sized(64).Make("p", 2001)), 3, "1000 rows each")
	require.Len(t, rawInserts(Sized(256<<10).Make("p", 33)), 3, "4 MiB each")
	require.Equal(t, "b", steps[0].Run, "left as they were")
}

func TestTheDiskIsThatOfTheNearestMount(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	mounts := []*procfs.MountInfo{
		{MountPoint: "/", FSType: "overlay", Source: "overlay"},
		{MountPoint: dir, FSType: "ext4", Source: "/dev/a"},
		{MountPoint: dir, FSType: "xfs", Source: "/dev/b"},
		{MountPoint: dir + "/sub/below", FSType: "tmpfs", Source: "tmpfs"},
		{MountPoint: dir + "/su", FSType: "tmpfs", Source: "tmpfs"},
	}
	require.Equal(t, "xfs on /dev/b", diskOf(filepath.Join(dir, "sub"), mounts, "unknown"))
	require.Equal(t, "overlay on overlay", diskOf(filepath.Dir(dir), mounts, "unknown"))
	require.Equal(t, "unknown", diskOf(dir, nil, "unknown"))
	m := describe(dir)
	require.NotContains(t, []string{m.CPU, m.Memory, m.Kernel, m.Disk}, "unknown")
	require.Positive(t, m.Cores)
}
