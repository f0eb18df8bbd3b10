package powerloss_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/persistd/persistd/internal/powerloss"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is a disk that is mounted.
type box struct {
	t    *testing.T
	disk *powerloss.Disk
	dir  string
}

func newBox(t *testing.T, names powerloss.Names) *box {
	t.Helper()
	b := &box{t, powerloss.NewDisk(names), t.TempDir()}
	require.NoError(t, b.disk.Mount(b.dir))
	t.Cleanup(func() { require.NoError(t, b.disk.Unmount()) })
	return b
}

func (b *box) path(name string) string { return filepath.Join(b.dir, name) }

// write writes a file, and syncs it when that is asked for.
func (b *box) write(name, content string, flags int, sync bool) {
	b.t.Helper()
	f, err := os.OpenFile(b.path(name), os.O_CREATE|os.O_WRONLY|flags, 0o600)
	require.NoError(b.t, err)
	_, err = f.WriteString(content)
	require.NoError(b.t, err)
	if sync {
		require.NoError(b.t, f.Sync())
	}
	require.NoError(b.t, f.Close())
}

func (b *box) sync(name string) {
	b.t.Helper()
	f, err := os.Open(b.path(name))
	require.NoError(b.t, err)
	require.NoError(b.t, f.Sync())
	require.NoError(b.t, f.Close())
}

func (b *box) cut(kept powerloss.Lost) {
	b.t.Helper()
	require.NoError(b.t, b.disk.Unmount())
	require.NoError(b.t, b.disk.Cut(kept))
	require.NoError(b.t, b.disk.Mount(b.dir))
}

// content is what is in the file; "-" when there is none.
func (b *box) content(name string) string {
	b.t.Helper()
	got, err := os.ReadFile(b.path(name))
	if os.IsNotExist(err) {
		return "-"
	}
	require.NoError(b.t, err)
	return string(got)
}

func (b *box) requireContent(want map[string]string) {
	b.t.Helper()
	for name, content := range want {
		require.Equal(b.t, content, b.content(name), name)
	}
}

func TestWhatWasSyncedIsThereAfterAPowerCutAndNothingElse(t *testing.T) {
	t.Parallel()
	b := newBox(t, powerloss.Journal)
	require.NoError(t, os.Mkdir(b.path("folder"), 0o700))
	b.write("folder/synced", "one", 0, true)
	b.write("folder/synced", " two", os.O_APPEND, false)
	b.write("osync", "one", os.O_SYNC, false)
	b.write("renamed.tmp", "new", 0, false)
	require.NoError(t, os.Rename(b.path("renamed.tmp"), b.path("renamed")))
	b.write("cut", "long", 0, true)
	b.write("cut", "s", os.O_TRUNC, false)
	b.write("last", "1", 0, true)
	b.write("never", "1", 0, false)
	require.NoError(t, os.Remove(b.path("last")))
	b.requireContent(map[string]string{
		"folder/synced": "one two", "osync": "one", "renamed": "new", "renamed.tmp": "-", "cut": "s", "last": "-", "never": "1",
	})
	b.cut(powerloss.Nothing)
	b.requireContent(map[string]string{
		"folder/synced": "one", "osync": "one", "renamed.tmp": "-", "cut": "", "last": "1", "never": "-",
		"renamed": "", // its name is older than a sync, its content was never synced
	})
	require.Positive(t, b.disk.Counts().Syncs)
	b.write("folder/synced", "again", 0, true)
	b.cut(powerloss.Nothing)
	b.requireContent(map[string]string{"folder/synced": "again", "osync": "one", "cut": ""})
}

func TestWithoutAJournalANameIsThereOnceItsFolderWasSynced(t *testing.T) {
	t.Parallel()
	b := newBox(t, powerloss.Directory)
	b.write("file", "synced", 0, true)
	require.Equal(t, []string{"file"}, b.disk.Forgotten())
	b.cut(powerloss.Nothing)
	b.requireContent(map[string]string{"file": "-"})
	b.write("file", "synced", 0, true)
	b.write("new", "synced", 0, true)
	b.sync(".")
	require.Empty(t, b.disk.Forgotten())
	require.NoError(t, os.Rename(b.path("new"), b.path("file")))
	b.write("other", "synced", 0, true)
	b.cut(powerloss.Nothing)
	b.requireContent(map[string]string{"file": "synced", "new": "synced", "other": "-"})
}

func TestOfWhatWasNotSyncedSomeMayBeThere(t *testing.T) {
	t.Parallel()
	const pages = 64
	b := newBox(t, powerloss.Journal)
	b.write("file", strings.Repeat("a", pages*4096), 0, true)
	b.write("file", strings.Repeat("b", pages*4096), 0, false)
	for i := range 20 {
		b.write(string(rune('A'+i)), "", 0, false)
	}
	b.cut(powerloss.Some(rand.New(rand.NewPCG(1, 2))))
	got := b.content("file")
	require.Len(t, got, pages*4096)
	old := 0
	for p := range pages {
		one := got[p*4096 : (p+1)*4096]
		require.Equal(t, strings.Repeat(one[:1], 4096), one, "a page is whole")
		old += strings.Count(one[:1], "a")
	}
	require.Greater(t, old, 5)
	require.Less(t, old, pages-5)
	there := 0
	for i := range 20 {
		if b.content(string(rune('A'+i))) != "-" {
			require.Equal(t, there, i, "names are lost from the end")
			there++
		}
	}
	require.Less(t, there, 20)
}

func TestTheDiskCannotBeCutWhileItIsMounted(t *testing.T) {
	t.Parallel()
	b := newBox(t, powerloss.Journal)
	require.ErrorContains(t, b.disk.Cut(powerloss.Nothing), "is mounted")
	require.ErrorContains(t, b.disk.Mount(b.dir), "is mounted")
}
