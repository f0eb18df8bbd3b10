package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// buildHello builds the image of testdata/hello and returns the tarball's bytes.
func buildHello(t *testing.T, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "new", "image.tar")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	require.NoError(t, os.WriteFile(ca, []byte("certificates"), 0o600))
	var stdout bytes.Buffer
	require.NoError(t, run(t.Context(), append([]string{"-o", out, "-package", "./testdata/hello", "-version", "1.2.3", "-ca", ca}, args...), &stdout))
	require.Regexp(t, `image.tar: persistd:1\.2\.\d for linux/.*MB\nsha256:[0-9a-f]{64}\n`, stdout.String())
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	entries, err := os.ReadDir(filepath.Dir(out))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left beside the tarball")
	return text
}

// open unpacks a tarball and returns its one index, as a registry client would find it.
func open(t *testing.T, text []byte) (v1.Descriptor, v1.ImageIndex) {
	t.Helper()
	dir := t.TempDir()
	unpack(t, bytes.NewReader(text), dir)
	path, err := layout.FromPath(dir)
	require.NoError(t, err)
	root, err := path.ImageIndex()
	require.NoError(t, err)
	manifest, err := root.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	index, err := root.ImageIndex(manifest.Manifests[0].Digest)
	require.NoError(t, err)
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	require.NoError(t, err)
	for _, blob := range blobs {
		content, err := os.ReadFile(blob)
		require.NoError(t, err)
		require.Equal(t, filepath.Base(blob), fmt.Sprintf("%x", sha256.Sum256(content)))
	}
	return manifest.Manifests[0], index
}

func unpack(t *testing.T, r io.Reader, dir string) map[string]*tar.Header {
	t.Helper()
	headers := map[string]*tar.Header{}
	for files := tar.NewReader(r); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		require.NoError(t, err)
		headers[header.Name] = header
		if header.Typeflag == tar.TypeDir {
			continue
		}
		path := filepath.Join(dir, header.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		content, err := io.ReadAll(files)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, content, fs.FileMode(header.Mode)))
	}
}

func TestTheImageIsWhatARuntimeNeeds(t *testing.T) {
	t.Parallel()
	descriptor, index := open(t, buildHello(t))
	require.Equal(t, types.OCIImageIndex, descriptor.MediaType)
	require.Equal(t, "1.2.3", descriptor.Annotations["org.opencontainers.image.ref.name"])
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	machines := map[string]elf.Machine{"linux/amd64": elf.EM_X86_64, "linux/arm64": elf.EM_AARCH64}
	require.Len(t, manifest.Manifests, len(machines))

	for _, m := range manifest.Manifests {
		platform := m.Platform.String()
		t.Run(platform, func(t *testing.T) {
			require.Equal(t, types.OCIManifestSchema1, m.MediaType)
			img, err := index.Image(m.Digest)
			require.NoError(t, err)
			config, err := img.ConfigFile()
			require.NoError(t, err)
			require.Equal(t, platform, config.Platform().String())
			require.Equal(t, []string{"/persistd"}, config.Config.Entrypoint)
			require.Equal(t, []string{"serve"}, config.Config.Cmd)
			require.Equal(t, "65532:65532", config.Config.User)
			require.Equal(t, "1.2.3", config.Config.Labels["org.opencontainers.image.version"])
			require.Equal(t, "persistd", config.Config.Labels["org.opencontainers.image.title"])

			layers, err := img.Layers()
			require.NoError(t, err)
			require.Len(t, config.RootFS.DiffIDs, len(layers))
			for i, layer := range layers {
				content, err := layer.Uncompressed()
				require.NoError(t, err)
				sum := sha256.New()
				_, err = io.Copy(sum, content)
				require.NoError(t, errors.Join(err, content.Close()))
				require.Equal(t, config.RootFS.DiffIDs[i].Hex, fmt.Sprintf("%x", sum.Sum(nil)))
			}

			root := t.TempDir()
			content := mutate.Extract(img)
			headers := unpack(t, content, root)
			require.NoError(t, content.Close())
			require.Len(t, headers, 5, "the binary, the certificates and their three folders, and nothing else")
			for name, header := range headers {
				require.Zero(t, header.Uid, name)
				require.Zero(t, header.Mode&0o022, "%s can be written by others than root", name)
			}
			require.NotZero(t, headers["persistd"].Mode&0o001, "user 65532 may run it")
			certificates, err := os.ReadFile(filepath.Join(root, "etc/ssl/certs/ca-certificates.crt"))
			require.NoError(t, err)
			require.Equal(t, "certificates", string(certificates))

			text, err := os.ReadFile(filepath.Join(root, "persistd"))
			require.NoError(t, err)
			require.True(t, bytes.Contains(text, []byte("America/Argentina/Ushuaia")), "the time zones are in the binary")

			binary, err := elf.Open(filepath.Join(root, "persistd"))
			require.NoError(t, err)
			defer func() { require.NoError(t, binary.Close()) }()
			require.Equal(t, machines[platform], binary.Machine)
			for _, p := range binary.Progs {
				require.NotEqual(t, elf.PT_INTERP, p.Type, "a static binary asks for no loader")
			}
			libraries, err := binary.ImportedLibraries()
			require.True(t, err != nil || len(libraries) == 0, "a static binary asks for no library, got %q", libraries)

			if platform == "linux/"+runtime.GOARCH {
				out, err := exec.CommandContext(t.Context(), filepath.Join(root, "persistd")).CombinedOutput()
				require.NoError(t, err)
				require.Equal(t, "1.2.3\n", string(out))
			}
		})
	}
}

func TestTwoBuildsAreTheSameBytes(t *testing.T) {
	t.Parallel()
	first := buildHello(t, "-platforms", "linux/amd64")
	require.True(t, bytes.Equal(first, buildHello(t, "-platforms", "linux/amd64")))
	require.False(t, bytes.Equal(first, buildHello(t, "-platforms", "linux/amd64", "-version", "1.2.4")), "the comparison can fail")
}

func TestWithoutCertificatesTheImageHasOneLayer(t *testing.T) {
	t.Parallel()
	_, index := open(t, buildHello(t, "-platforms", "linux/arm64", "-ca", "/nowhere"))
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	img, err := index.Image(manifest.Manifests[0].Digest)
	require.NoError(t, err)
	layers, err := img.Layers()
	require.NoError(t, err)
	require.Len(t, layers, 1)
}

func TestSourceDate(t *testing.T) {
	t.Parallel()
	at, err := sourceDate("1700000000")
	require.NoError(t, err)
	require.Equal(t, "2023-11-14T22:13:20Z", at.Format(time.RFC3339))
	at, err = sourceDate("")
	require.NoError(t, err)
	require.Zero(t, at.Unix())
	_, err = sourceDate("yesterday")
	require.ErrorContains(t, err, "parse SOURCE_DATE_EPOCH")
}

func TestWhatCannotBeBuiltLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "image.tar")
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"a package that does not exist", []string{"-package", "./testdata/none"}, "build ./testdata/none for linux/amd64"},
		{"a platform Go does not know", []string{"-package", "./testdata/hello", "-platforms", "linux/pdp11"}, "for linux/pdp11"},
		{"a word too many", []string{"now"}, "unexpected"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, run(t.Context(), append([]string{"-o", out}, row.args...), io.Discard), row.want)
			_, err := os.Stat(out)
			require.ErrorIs(t, err, fs.ErrNotExist)
		})
	}
}
