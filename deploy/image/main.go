// Command image builds the container image of persistd, offline and without Docker:
//
//	go run ./deploy/image -o dist/persistd-image.tar
//
// The result is a tarball in the OCI image layout with one image per platform. An image holds the static binary, the
// builder's CA certificates and nothing else: no shell, no package manager, no user but 65532. The same sources,
// toolchain and certificates give the same bytes; times are SOURCE_DATE_EPOCH, or 1970.
package main

import (
	"archive/tar"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// options is the command line.
type options struct {
	out, pkg, version, platforms, ca string
	created                          time.Time
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.out, "o", "dist/persistd-image.tar", "tarball to write")
	flags.StringVar(&o.pkg, "package", "./cmd/persistd", "main package to build; its variable main.version is set")
	flags.StringVar(&o.version, "version", "dev", "version of the build, and the image's tag")
	flags.StringVar(&o.platforms, "platforms", "linux/amd64,linux/arm64", "platforms to build for, comma separated")
	flags.StringVar(&o.ca, "ca", "/etc/ssl/certs/ca-certificates.crt", "CA certificates to put in; a missing file means none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("parse command line: unexpected %q", flags.Args())
	}
	if o.created, err = sourceDate(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}

	work, err := os.MkdirTemp("", "persistd-image-")
	if err != nil {
		return fmt.Errorf("make work folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	certificates, err := os.ReadFile(o.ca)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, _ = fmt.Fprintf(stdout, "no CA certificates at %s: the image verifies no TLS but with a CA it is given\n", o.ca)
	case err != nil:
		return fmt.Errorf("read CA certificates: %w", err)
	}
	var images []platformImage
	for name := range strings.SplitSeq(o.platforms, ",") {
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return fmt.Errorf("parse platform %q: %w", name, err)
		}
		binary, err := build(ctx, o, *platform, filepath.Join(work, strings.ReplaceAll(name, "/", "-")))
		if err != nil {
			return err
		}
		img, err := image(o, *platform, binary, certificates)
		if err != nil {
			return fmt.Errorf("make image for %s: %w", name, err)
		}
		images = append(images, platformImage{*platform, img})
	}
	layoutDir := filepath.Join(work, "layout")
	digest, err := writeLayout(layoutDir, o, images)
	if err != nil {
		return fmt.Errorf("write image layout: %w", err)
	}
	if err := writeTarball(o.out, layoutDir, o.created); err != nil {
		return fmt.Errorf("write %s: %w", o.out, err)
	}
	info, err := os.Stat(o.out)
	if err != nil {
		return fmt.Errorf("look at %s: %w", o.out, err)
	}
	_, err = fmt.Fprintf(stdout, "%s: persistd:%s for %s, %.1f MB\n%s\n", o.out, o.version, o.platforms, float64(info.Size())/1e6, digest)
	return err
}

func sourceDate(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("parse SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// build compiles the package for one platform, without libc, without paths of this machine, and with the time zones, which
// the image has no files of and a DSN's loc may name.
func build(ctx context.Context, o options, platform v1.Platform, out string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "build", //nolint:gosec // G204: whoever runs this names the package.
		"-trimpath", "-buildvcs=false", "-tags", "timetzdata",
		"-ldflags", "-s -w -buildid= -X main.version="+o.version, "-o", out, o.pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s for %s: %w\n%s", o.pkg, platform.String(), err, text)
	}
	binary, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	return binary, nil
}

// writeTarball packs the folder, in order of names and with one time for all, and renames it into place: a tarball that is
// there is whole.
func writeTarball(out, dir string, created time.Time) (err error) {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil { //nolint:gosec // G301: a folder of build results.
		return err
	}
	file, err := os.Create(out + ".tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil { // closing twice is the only other error here, and tells nothing
			_ = file.Close()
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	w := tar.NewWriter(file)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path) //nolint:gosec // G122: our own temporary folder.
		if err != nil {
			return err
		}
		return addFile(w, filepath.ToSlash(name), content, 0o644, created)
	})
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), out)
}

func addFile(w *tar.Writer, name string, content []byte, mode int64, at time.Time) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: mode, ModTime: at, Format: tar.FormatPAX}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}
